"""Linear models: posing, derivatives, files, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import unproject as up
from unproject.fit.linear_model import LinearModel, Skinning, check_model, model_jacobian, pose_model
from unproject.fit.model_file import load_model, save_model
from unproject.fit.sample_models import sample_body_model, sample_face_model


def _chain(dtype: torch.dtype = torch.float64) -> LinearModel:
    """Six vertices on three joints in a row along x, with everything that a model may have."""
    generator = torch.Generator().manual_seed(3)
    random = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)
    mean = torch.tensor([[0, 0, 0], [1, 0, 0], [2, 0, 0], [3, 0, 0], [0, 1, 0], [3, 1, 0.0]], dtype=torch.float64)
    regressor = torch.eye(6, dtype=torch.float64)[:3]
    weights = torch.softmax(2 * random(6, 3), 1)
    skinning = Skinning(joint_regressor=regressor, parents=torch.tensor([-1, 0, 1]), weights=weights, pose_basis=0.1 * random(6, 3, 18))
    return LinearModel(
        mean=mean, faces=torch.tensor([[0, 1, 4], [2, 3, 5]]), identity_basis=random(6, 3, 2), expression_basis=random(6, 3, 1),
        identity_deviation=torch.ones(2, dtype=torch.float64), expression_deviation=torch.ones(1, dtype=torch.float64), skinning=skinning,
    ).to(dtype)  # fmt: skip


def _skeleton(model: LinearModel) -> Skinning:
    assert model.skinning is not None
    return model.skinning


def _parameters(model: LinearModel, *, scale: float = 0.5) -> tuple[torch.Tensor, ...]:
    sizes = ((model.identity_count,), (model.expression_count,), (model.joint_count, 3), (3,))
    return tuple(scale * torch.randn(size, dtype=torch.float64) for size in sizes)


def test_rest_pose_is_the_mean() -> None:
    model = _chain()
    assert torch.allclose(pose_model(model), model.mean)


def test_the_root_turns_the_whole_about_its_joint() -> None:
    model = _chain()
    plain = replace(model, skinning=replace(_skeleton(model), pose_basis=None))
    omega, shift = torch.tensor([0.3, -2.0, 0.7], dtype=torch.float64), torch.tensor([5.0, 1.0, 2.0], dtype=torch.float64)
    pose = torch.zeros(3, 3, dtype=torch.float64)
    pose[0] = omega
    root = plain.mean[0]
    expected = (plain.mean - root) @ up.so3_exp(omega).T + root + shift
    assert torch.allclose(pose_model(plain, pose=pose, translation=shift), expected)


def test_a_joint_moves_what_hangs_on_it() -> None:
    """By hand: vertices stuck to the last joint at (2, 0, 0) turn by a quarter about it; pose_basis adds its row before that."""
    model = _chain()
    stuck = torch.zeros(6, 3, dtype=torch.float64)
    stuck[[0, 4], 0] = stuck[[1], 1] = stuck[[2, 3, 5], 2] = 1.0
    basis = torch.zeros(6, 3, 18, dtype=torch.float64)
    basis[3, 0, 9 + 4] = -0.5  # entry (1, 1) of R - I of joint 2: cos 90 - 1 = -1
    model = replace(model, skinning=replace(_skeleton(model), weights=stuck, pose_basis=basis))
    pose = torch.zeros(3, 3, dtype=torch.float64)
    pose[2, 2] = torch.pi / 2
    moved = pose_model(model, pose=pose)
    assert torch.allclose(moved[[0, 1, 2, 4]], model.mean[[0, 1, 2, 4]])
    assert torch.allclose(moved[3], torch.tensor([2.0, 1.5, 0.0], dtype=torch.float64))
    assert torch.allclose(moved[5], torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64))


def test_leading_dimensions_broadcast() -> None:
    model = _chain()
    identity, pose = torch.randn(2, 1, 2, dtype=torch.float64), torch.randn(3, 3, 3, dtype=torch.float64)
    both = pose_model(model, identity, pose=pose)
    assert both.shape == (2, 3, 6, 3)
    assert torch.allclose(both[1, 2], pose_model(model, identity[1, 0], pose=pose[2]))


@pytest.mark.parametrize("skinned", [True, False])
def test_gradients(skinned: bool) -> None:
    model = _chain() if skinned else replace(_chain(), skinning=None)
    parameters = _parameters(model)
    leaves = tuple(p.clone().requires_grad_() for p in parameters)
    assert torch.autograd.gradcheck(lambda *p: pose_model(model, *p), leaves)
    vertices, jacobian = model_jacobian(model, *parameters)
    assert torch.allclose(vertices, pose_model(model, *parameters))
    identity, expression, pose, translation = torch.autograd.functional.jacobian(lambda *p: pose_model(model, *p), parameters)
    assert torch.allclose(jacobian, torch.cat([pose.flatten(2), translation, identity, expression], 2), atol=1e-12)


def test_gradients_at_rest_and_to_the_model() -> None:
    model = _chain()
    zeros = tuple(torch.zeros_like(p).requires_grad_() for p in _parameters(model))
    assert torch.autograd.gradcheck(lambda *p: pose_model(model, *p), zeros)
    mean = model.mean.clone().requires_grad_()
    fixed = _parameters(model)
    assert torch.autograd.gradcheck(lambda m: pose_model(replace(model, mean=m), *fixed), mean)


def test_file_round_trip(tmp_path: Path) -> None:
    model = replace(_chain(), landmarks={"first": 0, "last": 5})
    save_model(tmp_path / "m.npz", model)
    again = load_model(tmp_path / "m.npz", dtype=torch.float64)
    parameters = _parameters(model)
    assert torch.equal(pose_model(again, *parameters), pose_model(model, *parameters)) and again.landmarks == model.landmarks
    with pytest.raises(OSError, match="exists"):
        save_model(tmp_path / "m.npz", model)


def _smpl_arrays() -> dict[str, np.ndarray]:
    model = _chain()
    skinning = _skeleton(model)
    assert skinning.pose_basis is not None
    return {
        "v_template": model.mean.numpy(), "f": model.faces.numpy().astype(np.uint32), "shapedirs": model.identity_basis.numpy(),
        "posedirs": skinning.pose_basis.numpy(), "J_regressor": skinning.joint_regressor.numpy(),
        "weights": skinning.weights.numpy(), "kintree_table": np.array([[2**32 - 1, 0, 1], [0, 1, 2]], np.uint32),
    }  # fmt: skip


def test_smpl_layout(tmp_path: Path) -> None:
    np.savez(tmp_path / "smpl.npz", **_smpl_arrays())  # pyright: ignore[reportArgumentType]
    model = load_model(tmp_path / "smpl.npz", identity_count=1)
    assert model.skinning is not None and model.skinning.parents.tolist() == [-1, 0, 1]
    assert (model.identity_count, model.expression_count, model.joint_count) == (1, 1, 3) and model.mean.dtype == torch.float32


@pytest.mark.parametrize(
    "change, message",
    [
        ({"weights": None}, r"part of a skeleton .* but not weights"),
        ({"v_template": None}, r"has no array 'v_template'; a model needs"),
        ({"shapedirs": np.zeros((5, 3, 2))}, r"`identity_basis` must be \[6, 3, K\]"),
        ({"shapedirs": np.zeros((6, 3))}, r"shapedirs must be \[V, 3, K\]"),
        ({"f": np.array([[0, 1, 6]])}, "`faces` must lie in 0 to 5, found 6"),
        ({"weights": np.full((6, 3), 0.5)}, "rows of `weights` must add up to 1, row 0 adds up to 1.5"),
        ({"kintree_table": np.array([[-1, 2, 0], [0, 1, 2]])}, "an earlier joint"),
        ({"posedirs": np.zeros((6, 3, 9))}, r"`pose_basis` must be \[6, 3, 18\]"),
        ({"v_template": np.full((6, 3), np.nan)}, "NaN"),
        ({"f": np.array([["a", "b", "c"]])}, "must hold numbers"),
        ({"J_regressor": np.array([{"sparse": 1}], object)}, "'J_regressor' cannot be read without unpickling"),
    ],
)
def test_files_that_are_refused(tmp_path: Path, change: dict[str, np.ndarray | None], message: str) -> None:
    arrays = {name: value for name, value in (_smpl_arrays() | change).items() if value is not None}
    np.savez(tmp_path / "bad.npz", **arrays)  # pyright: ignore[reportArgumentType]
    with pytest.raises(up.FormatError, match=message) as caught:
        load_model(tmp_path / "bad.npz")
    assert "bad.npz" in str(caught.value)


def test_pickles_and_damaged_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "m.pkl").write_bytes(b"\x80\x04K\x01.")
    with pytest.raises(up.FormatError, match=r"\.pkl.* are not read"):
        load_model(tmp_path / "m.pkl")
    np.savez(tmp_path / "whole.npz", **_smpl_arrays())  # pyright: ignore[reportArgumentType]
    (tmp_path / "cut.npz").write_bytes((tmp_path / "whole.npz").read_bytes()[:400])
    with pytest.raises(up.FormatError, match="damaged"):
        load_model(tmp_path / "cut.npz")
    with pytest.raises(OSError, match="cannot read"):
        load_model(tmp_path / "none.npz")


def test_arguments_that_are_refused() -> None:
    model = _chain()
    with pytest.raises(up.ArgumentError, match=r"`pose` must be \[\.\.\., 3, 3\]"):
        pose_model(model, pose=torch.zeros(2, 3))
    with pytest.raises(up.ArgumentError, match=r"`identity` must be \[\.\.\., 2\]"):
        pose_model(model, torch.zeros(3))
    with pytest.raises(up.ArgumentError, match="`identity_deviation` must be above 0"):
        check_model(replace(model, identity_deviation=torch.tensor([1.0, 0.0])))
    with pytest.raises(up.ArgumentError, match="landmark 'x' is vertex 6 of 6"):
        check_model(replace(model, landmarks={"x": 6}))


def test_sample_models_are_closed_and_sound() -> None:
    for model in (sample_face_model(level=2), sample_body_model(resolution=32)):
        surface = up.classify_surface(up.make_topology(model.faces, model.vertex_count))
        assert up.is_watertight(up.make_topology(model.faces, model.vertex_count)), surface
        assert len(set(model.landmarks.values())) == len(model.landmarks)
    body = sample_body_model(resolution=32, dtype=torch.float64)
    assert body.skinning is not None
    joints = body.skinning.joint_regressor @ body.mean
    assert torch.allclose(joints[4], torch.tensor([0.47, 0.48, 0.0], dtype=torch.float64), atol=1e-9)
    pose = torch.zeros(11, 3)
    pose[4, 1] = -torch.pi / 2  # the left forearm points forward
    moved = pose_model(body, pose=pose)
    hand, foot = body.landmarks["left hand"], body.landmarks["left foot"]
    assert float(moved[hand, 2]) > 0.3 and float((moved[foot] - body.mean[foot]).norm()) < 1e-3
