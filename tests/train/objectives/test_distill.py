"""Self-distillation: its terms from their definitions, its schedules, its teacher, and whether it learns."""

from __future__ import annotations

import math
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from overfit import steps_on
from two_processes import run

from spatialfm._errors import ArgumentError, ModelError
from spatialfm.models import MarkerEntry, load, new_encoder, save_trained
from spatialfm.train.batch import WindowSample, random_of
from spatialfm.train.objectives import Objective, new_objective
from spatialfm.train.objectives.losses import centred_targets, cross_entropies
from spatialfm.train.trainer import loss_of

SHAPES = {
    "kronos": {"dim": 12, "depth": 4, "heads": 2, "grid": 4, "patch_size": 4, "registers": 2},
    "dinov2-s": {"dim": 12, "depth": 2, "heads": 2, "grid": 4, "patch_size": 4},
}
HEAD = {"prototypes": 24, "hidden": 16, "bottleneck": 8, "n_local": 3}


def lively(encoder):
    """Weights that make a difference, where initial ones leave a block at 1e-5 of it."""
    generator = torch.Generator().manual_seed(5)
    for name, parameter in encoder.named_parameters():
        parameter.data.normal_(1.0 if name.endswith(("gamma", "norm.weight")) else 0.0, 0.2, generator=generator)
    return encoder


def objective(model: str = "kronos", alive: bool = True, **options) -> Objective:
    encoder = new_encoder(model, **SHAPES[model])
    return new_objective("distill", lively(encoder) if alive else encoder, **HEAD | options)


def window(seed: int, n_markers: int = 3, side: int = 16) -> WindowSample:
    rng = np.random.default_rng(seed)
    pixels = torch.from_numpy(rng.normal(size=(n_markers, side, side))).float()
    names = tuple(f"m{i}" for i in range(n_markers))
    return WindowSample(pixels, torch.from_numpy(rng.permutation(500)[:n_markers]), names, seed)


def views_of(one: Objective, *windows: WindowSample, seed: int = 0):
    make = pickle.loads(pickle.dumps(one.views()))  # as a worker gets it
    return [make(single, random_of(seed, 0, place, 2)) for place, single in enumerate(windows)]


def by_hand(one: Objective, views) -> dict[str, float]:
    """The terms of a batch, image by image and pair by pair."""
    dino_local, dino_global, ibot, n_pairs = [], [], 0.0, 2 + 2 * len(views[0].local)
    cls = [[], []]
    with torch.no_grad():
        for view in views:
            ids = view.markers
            teacher = [one.teacher.features(crop[None], ids) for crop in view.crops]
            student = [
                one.encoder.features(crop[None], ids, hidden=hidden[None], gains=gains[None])
                for crop, hidden, gains in zip(view.crops, view.hidden, view.gains, strict=False)
            ]
            local = [
                one.encoder.features(crop[None], ids, gains=gains[None])
                for crop, gains in zip(view.local, view.gains[2:], strict=True)
            ]
            targets = [
                centred_targets(one.teacher_head(out.cls), one.centre, one.temperature).flatten() for out in teacher
            ]
            for out in local:
                for target in targets:
                    dino_local.append(cross_entropies(one.head(out.cls)[0], target).item())
            for here, there in ((0, 1), (1, 0)):
                dino_global.append(cross_entropies(one.head(student[here].cls)[0], targets[there]).item())
                at = student[here].hidden
                if at.any():
                    wanted = one.teacher_head(teacher[here].tokens[at])
                    wanted = centred_targets(wanted, one.token_centre, one.temperature)
                    ibot += cross_entropies(one.head(student[here].tokens[at]), wanted).mean().item()
                cls[here].append(student[here].cls[0] / student[here].cls[0].norm())
    koleo = 0.0
    for vectors in cls:
        for i, vector in enumerate(vectors):
            koleo -= math.log(min((vector - other).norm().item() for j, other in enumerate(vectors) if i != j))
    return {
        "dino": (sum(dino_local) + sum(dino_global)) / (n_pairs * len(views)),
        "ibot": ibot / (2 * len(views)),
        "koleo": koleo / len(views),
    }


def means(terms) -> dict[str, float]:
    return {name: (term.total / max(term.count, 1)).item() for name, term in terms.items()}


def test_the_terms_are_those_of_their_definition():
    one = objective(masked_share=0.7)
    one.centre.normal_(0, 0.1, generator=torch.Generator().manual_seed(1))
    one.token_centre.normal_(0, 0.1, generator=torch.Generator().manual_seed(2))
    generator = torch.Generator().manual_seed(3)
    for head in (one.head, one.teacher_head):  # a student that has left its teacher, and answers that tell crops apart
        for parameter in head.parameters():
            parameter.data.normal_(0, 0.7, generator=generator)
    views = views_of(one, window(0), window(1, 2), window(2), window(3, 2))
    assert any(view.hidden.any() for view in views)
    expected, terms = by_hand(one, views), one.eval()(views)
    got = means(terms)
    local, across = terms["dino_local"], terms["dino_global"]
    assert (local.count, across.count, local.weight, across.weight) == (24, 8, 6 / 8, 2 / 8)
    dino = local.weight * got["dino_local"] + across.weight * got["dino_global"]
    assert dino == pytest.approx(expected["dino"], rel=1e-5)
    assert got["ibot"] == pytest.approx(expected["ibot"], rel=1e-5)
    assert got["koleo"] == pytest.approx(expected["koleo"], rel=1e-4)
    loss, *_ = loss_of(terms)
    assert loss.item() == pytest.approx(dino + expected["ibot"] + 0.1 * expected["koleo"], rel=1e-5)


def test_views_of_each_marker_of_a_model_of_rgb_images():
    one = objective("dinov2-s", masked_share=1.0)
    terms = one(views_of(one, window(0), window(1)))
    assert terms["dino_global"].count == 2 * 2 * 3
    loss, *_ = loss_of(terms)
    loss.backward()
    assert one.encoder.backbone.mask_token.grad.abs().max() > 0


def test_centres_move_with_the_teachers_logits_after_the_step():
    one = objective(masked_share=1.0).train()
    views, values = views_of(one, window(0), window(1)), one.schedule(0, 10)
    with torch.no_grad():
        crops = [(crop, view) for view in views for crop in view.crops]
        features = [one.teacher.features(crop[None], view.markers) for crop, view in crops]
        logits = torch.cat([one.teacher_head(out.cls) for out in features])
        masks = [mask for view in views for mask in view.hidden]
        tokens = torch.cat(
            [one.teacher_head(out.tokens[0][mask.repeat(3)]) for out, mask in zip(features, masks, strict=True)]
        )
    one.validate(views)
    one(views)
    assert not one.centre.any()
    one.after_step(values)
    torch.testing.assert_close(one.centre, 0.1 * logits.mean(0))
    torch.testing.assert_close(one.token_centre, 0.1 * tokens.mean(0))
    one.validate(views)
    one.after_step(values)
    torch.testing.assert_close(one.centre, 0.1 * logits.mean(0))


def test_the_teacher_is_the_moving_average_and_is_what_is_saved(tmp_path):
    one = objective().train()
    one.encoder.vocabulary = (MarkerEntry("m0", 3, 0.1, 0.2),)
    assert not one.teacher.training
    assert not any(parameter.requires_grad for parameter in one.teacher.parameters())
    before = one.teacher.backbone.cls_token.clone()
    one.encoder.backbone.cls_token.data += 1
    one.after_step(one.schedule(0, 10))
    torch.testing.assert_close(one.teacher.backbone.cls_token, before + 0.008)
    save_trained(one.result(), tmp_path)
    loaded = load("kronos", weights=tmp_path, blocks="all")
    assert loaded.vocabulary == one.encoder.vocabulary
    pixels, ids = torch.randn(1, 2, 16, 16), torch.tensor([4, 8])
    with torch.no_grad():
        torch.testing.assert_close(loaded(pixels, ids).patch, one.teacher.features(pixels, ids).cls)
    assert loaded.executed == (0, 1, 2, 3)


def test_a_resumed_objective_goes_on_as_it_was():
    one, views = objective(), None
    views = views_of(one, window(0), window(1))
    steps_on(one, views, 2)
    other = objective()
    other.load_state_dict(one.state_dict())
    more, again = steps_on(one, views, 2), steps_on(other, views, 2)
    assert more == again


def test_schedules_are_those_of_table_s24():
    one = objective()
    one.batch_size = 256
    first, peak, later, last = (one.schedule(step, 1000) for step in (0, 99, 550, 999))
    assert (first.lr, first.last_layer_lr, first.weight_decay) == (0.0, 0.0, pytest.approx(0.04))
    assert peak.lr == peak.last_layer_lr == pytest.approx(0.002)  # 0.004 * sqrt(256 / 1024)
    assert one.schedule(9, 1000).last_layer_lr == 0 < one.schedule(10, 1000).last_layer_lr
    assert later.lr == pytest.approx(1e-6 + 0.5 * (0.002 - 1e-6), rel=1e-6)
    assert last.lr == pytest.approx(1e-6, rel=0.05)
    assert last.weight_decay == pytest.approx(0.4, rel=1e-5)
    assert first.extra == {"teacher_momentum": pytest.approx(0.992), "teacher_temperature": pytest.approx(0.04)}
    assert one.schedule(500, 1000).extra["teacher_momentum"] == pytest.approx(0.996)
    assert one.schedule(299, 1000).extra["teacher_temperature"] == pytest.approx(0.07)
    assert last.extra["teacher_temperature"] == 0.07
    assert one.clip_norm == 3.0
    encoder, head = one.clip_parts()
    assert len(encoder) == len(list(one.encoder.parameters()))
    assert len(head) == len(list(one.head.parameters()))


def test_both_kinds_of_targets_and_crop_sizes():
    one = objective(targets="sinkhorn", masked_share=0.0)
    terms = one(views_of(one, window(0), window(1)))
    assert terms["ibot"].total == 0
    loss, *_ = loss_of(terms)
    loss.backward()  # a batch without hidden tokens
    assert one.encoder.backbone.mask_token.grad is not None
    assert (one.crops.global_size, one.crops.local_size) == (16, 8)
    published = new_objective("distill", new_encoder("kronos", dim=12, heads=2), **HEAD)
    assert (published.crops.global_size, published.crops.local_size, published.crops.depth) == (224, 96, 12)


@pytest.mark.parametrize("model", list(SHAPES))
def test_each_family_learns_a_batch_by_heart(model):
    """What is above the entropy of the targets falls below 5 %; the entropy stays, whatever the student says.

    The cross-entropy of a target t with an answer p is H(t) + KL(t || p), at least H(t). A local crop has one answer
    for the targets t and u of both global crops: (KL(t || p) + KL(u || p)) / 2 is least at p = (t + u) / 2, and
    the mean of both cross-entropies is H((t + u) / 2) there.
    """
    one = objective(
        model, drop_path=0.0, koleo_weight=0.0, momentum=1.0, centre_momentum=1.0, freeze=0.0, masked_share=1.0,
        teacher_temperature=0.1, warmup_teacher_temperature=0.1,
    )  # fmt: skip
    one.teacher_head.prototypes.data.normal_(generator=torch.Generator().manual_seed(9))  # what is not known yet
    views = views_of(one, window(0), window(1))
    with torch.no_grad():
        floor = 0.0
        for view in views:
            teacher = [one.teacher.features(crop[None], view.markers) for crop in view.crops]
            targets = [centred_targets(one.teacher_head(out.cls), one.centre, 0.1) for out in teacher]
            middle = (targets[0] + targets[1]) / 2  # the best that a crop can say of two targets
            floor += (6 * entropy(middle) + entropy(targets[0]) + entropy(targets[1])) / 8 / 2
            for out, hidden in zip(teacher, view.hidden, strict=True):
                at = hidden.repeat(3)
                if at.any():
                    logits = one.teacher_head(out.tokens.flatten(0, 1)[at])
                    floor += entropy(centred_targets(logits, one.token_centre, 0.1)) / 4
    losses = steps_on(one, views, 150, lr=1e-2)
    assert floor > 0
    assert 0 <= losses[-1] - floor < 0.05 * (losses[0] - floor)


def entropy(targets: torch.Tensor) -> float:
    return -(targets * targets.log()).sum(-1).mean().item()


@pytest.mark.parametrize(
    ("model", "shape", "message"),
    [
        ("virtues", {"dim": 16, "heads": 2}, "'virtues' is not a vision transformer"),
        (
            "openphenom",
            {"patch_size": 8},
            "'openphenom' is not a vision transformer.*Train KRONOS or one of the DINOv2",
        ),
        ("uni", {}, "has no mask token"),
    ],
)
def test_encoders_that_it_cannot_train(model, shape, message):
    shape = {"dim": 12, "depth": 1, "heads": 2} | shape
    with pytest.raises(ModelError, match=message):
        new_objective("distill", new_encoder(model, **shape))


def test_what_it_refuses():
    with pytest.raises(ModelError, match=r"Load it with sfm\.models\.load\('kronos', blocks="):
        new_objective("distill", load("kronos", weights="random"), **HEAD)
    with pytest.raises(ArgumentError, match="local_size must be a multiple of the patch size 4, got 10"):
        objective(local_size=10)
    with pytest.raises(ArgumentError, match="global_scale must be two shares"):
        objective(global_scale=(0.0, 1.0))
    with pytest.raises(ArgumentError, match="drop_path must be below 1"):
        objective(drop_path=1.0)


@pytest.mark.slow
def test_two_processes_do_what_one_does(tmp_path):
    script = Path(__file__).parents[2] / "two_processes.py"
    started = [
        subprocess.Popen([sys.executable, str(script), str(tmp_path), str(rank)], stderr=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    for process in started:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
    parts = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    for kind in ("centre", "sinkhorn"):
        expected = run(kind, 0, 1)
        assert expected["gradients"].norm() > 0
        for part in parts:
            for name, value in expected.items():
                difference = (part[kind][name] - value).norm() / value.norm().clamp(min=1e-12)
                assert difference < 1e-5, (kind, name)
