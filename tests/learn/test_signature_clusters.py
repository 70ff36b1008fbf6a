"""Candidates, fractions, ranks and the assignment of held-out cells."""

import numpy as np

import spatialfm as sfm
from spatialfm.learn import signature_clusters as clustering


def test_ranks_are_absence_and_tertiles_of_what_is_there():
    shares = np.array([[0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.0, 0.0]]).T
    ranks = clustering.ranks_of(shares, clustering.cut_points(shares))
    assert ranks.ravel().tolist() == [0, 1, 1, 2, 2, 3, 3, 0, 0]
    nobody = np.zeros((4, 1))
    assert clustering.ranks_of(nobody, clustering.cut_points(nobody)).ravel().tolist() == [0, 0, 0, 0]
    # cut points of a discovery cohort, on another one
    assert clustering.ranks_of(np.array([[0.0], [0.01], [0.35], [0.9]]), np.array([[0.3], [0.5]])).ravel().tolist() == [
        0, 1, 2, 3,
    ]  # fmt: skip


def test_candidates_are_small_and_count_once():
    codes = np.array([[0] * 50 + [1] * 30 + [2] * 20, [0] * 50 + [1] * 29 + [2] * 21, [0] * 40 + [1] * 60])
    found = clustering.candidates(codes, 45, 0.9)
    # the 30 and the 29, the 20 and the 21 are the same cells but for one; the 50s and the 60 are too large
    assert list(zip(found.resolution.tolist(), found.code.tolist(), found.n_merged.tolist(), strict=True)) == [
        (0, 1, 1),
        (0, 2, 1),
        (2, 0, 0),
    ]
    assert found.members(1).sum() == 20
    assert len(clustering.candidates(codes, 45, 1.0).code) == 5


def test_fractions_are_shares_of_a_patients_cells():
    codes = np.array([[0, 0, 1, 1, 2, 2]])
    found = clustering.candidates(codes, 10, 1.0)
    patients = np.array([0, 0, 0, 1, 1, 1])
    np.testing.assert_allclose(
        clustering.fractions(found, patients, 3), [[2 / 3, 1 / 3, 0], [0, 1 / 3, 2 / 3], [0, 0, 0]]
    )


def test_held_out_cells_go_to_their_neighbours():
    rng = np.random.default_rng(0)
    centers = np.array([[0, 0], [5, 0], [0, 5]])
    truth = rng.integers(0, 3, 300)
    values = centers[truth] + 0.3 * rng.standard_normal((300, 2))
    codes = np.stack([truth[:200], truth[:200] > 0]).astype(int)
    found = clustering.assign(values[:200], codes, values[200:], 15, 0)
    assert (found[0] == truth[200:]).all()
    assert (found[1] == (truth[200:] > 0)).all()


def test_clusterings_of_many_cells_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(clustering, "KEEP_FROM", 100)
    monkeypatch.setattr(sfm.settings, "cache_dir", tmp_path)
    values = np.random.default_rng(0).standard_normal((200, 4)).astype(np.float32)
    first = clustering.cluster_cells(values, [0.5, 1.0], 10, 0, 1)
    calls = []
    leiden = clustering.leiden
    monkeypatch.setattr(clustering, "leiden", lambda *a: calls.append(a[1]) or leiden(*a))
    next(tmp_path.glob("clusterings/*/1.npz")).unlink()  # as if stopped before it
    again = clustering.cluster_cells(values, [0.5, 1.0], 10, 0, 1)
    np.testing.assert_array_equal(first, again)
    assert calls == [1.0]


def test_kept_clusterings_are_those_of_the_same_cells(tmp_path, monkeypatch):
    monkeypatch.setattr(clustering, "KEEP_FROM", 50)
    monkeypatch.setattr(sfm.settings, "cache_dir", tmp_path)
    values = np.random.default_rng(0).standard_normal((200, 4)).astype(np.float32)
    clustering.cluster_cells(values, [1.0], 10, 0, 1)
    same_bytes = values.reshape(100, 8)
    assert clustering.cluster_cells(same_bytes, [1.0], 10, 0, 1).shape == (1, 100)
    asked, leiden = [], clustering.leiden
    monkeypatch.setattr(clustering, "leiden", lambda *a: asked.append(a[1]) or leiden(*a))
    clustering.cluster_cells(values, [1.0, 1.0 + 1e-9], 10, 0, 1)  # distinguished, however near
    assert asked == [1.0 + 1e-9]


def test_a_damaged_clustering_is_made_again(tmp_path, monkeypatch):
    monkeypatch.setattr(clustering, "KEEP_FROM", 50)
    monkeypatch.setattr(sfm.settings, "cache_dir", tmp_path)
    values = np.random.default_rng(0).standard_normal((200, 4)).astype(np.float32)
    first = clustering.cluster_cells(values, [1.0], 10, 0, 1)
    (file,) = tmp_path.glob("clusterings/*/1.npz")
    for content in (b"", file.read_bytes()[:-8]):
        file.write_bytes(content)
        np.testing.assert_array_equal(clustering.cluster_cells(values, [1.0], 10, 0, 1), first)


def test_members_of_many_clusters_are_found_by_one_sort():
    """As by looking at all cells for each of them, which is quadratic: clusters grow with cells."""
    rng = np.random.default_rng(0)
    codes = np.stack([rng.integers(0, 40, 3000), rng.integers(0, 200, 3000)])
    found = clustering.candidates(codes, 60, None)
    expected = [(r, c, int((codes[r] == c).sum())) for r in range(2) for c in range(200)]
    expected = [row for row in expected if 0 < row[2] < 60]
    assert list(zip(found.resolution, found.code, found.sizes, strict=True)) == expected
    codes[1] = codes[0]  # each has a twin
    assert clustering.candidates(codes, np.inf, 0.8).n_merged.tolist() == [1] * 40
    codes[1] = (codes[0] + (np.arange(3000) < 1200)) % 40  # shares too few
    assert clustering.candidates(codes, np.inf, 0.8).n_merged.tolist() == [0] * 80
