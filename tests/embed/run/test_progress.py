"""What the bars of a run count."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from spatialfm.embed.run.progress import Progress


@pytest.fixture
def blocks():
    return [SimpleNamespace(sample=s, n_windows=w, n_rows=r) for s, w, r in ((0, 4, 4), (0, 6, 3), (1, 5, 10))]


def test_cells_of_finished_blocks_are_there_at_the_start(blocks):
    progress = Progress(blocks, [1, 2], ["a", "b"], "cell")
    assert (progress.n_total, progress.n_done) == (17, 4)
    assert progress.left == [[4, 10], [0, 5]]


def test_windows_add_up_to_rows_and_a_batch_may_be_taken_back(blocks):
    shown = []
    with Progress(blocks, [0, 1, 2], ["a", "b"], "cell") as progress:
        progress.outer = SimpleNamespace(update=shown.append, close=lambda: None)
        tell = progress.windows(blocks[2])
        for n in (2, -2, 3, 2):
            tell(n)
        assert sum(shown) == 10
        progress.block(1)
        assert sum(shown) == 13
        assert progress.left == [[6, 10], [5, 5]]
