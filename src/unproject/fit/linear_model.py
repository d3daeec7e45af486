"""Linear shape models: a mean, a basis of identities and one of expressions, and a skeleton with linear blend skinning if it has one.

`pose_model` is the model as a function of its parameters, with gradients; `model_jacobian` its derivatives as a matrix, for solvers.
Files have the layout of SMPL, as .npz. No such data comes with the package; `sample_models` has procedural ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import ArgumentError, check_indices, check_shape
from ..geometry.mesh import Mesh
from ..lie.so3 import hat, so3_exp, so3_left_jacobian
from ..struct import TensorStruct


@dataclass(frozen=True, kw_only=True)
class Skinning(TensorStruct):
    """A skeleton and how it moves the vertices.

    Attributes:
        joint_regressor: [J, V], each row sums to 1: joints are mixtures of the shaped vertices.
        parents: [J] int64; -1 for the root, which is joint 0; a parent comes before its children.
        weights: [V, J], not negative, each row sums to 1.
        pose_basis: [V, 3, 9 (J - 1)] displacement for each entry of R_j - I (row by row) of every joint but the root, or None.
    """

    joint_regressor: Tensor
    parents: Tensor
    weights: Tensor
    pose_basis: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class LinearModel(TensorStruct):
    """A shape model: vertices = mean + identity_basis @ identity + expression_basis @ expression, then posed. Check with `check_model`.

    Attributes:
        mean: [V, 3], in scene units.
        faces: [F, 3].
        identity_basis, expression_basis: [V, 3, K] and [V, 3, L]; K or L may be 0.
        identity_deviation, expression_deviation: [K] and [L] standard deviations of the coefficients, whose means are zero.
        skinning: the skeleton, or None: then there is one joint, at the origin.
        landmarks: vertices with a name.
    """

    mean: Tensor
    faces: Tensor
    identity_basis: Tensor
    expression_basis: Tensor
    identity_deviation: Tensor
    expression_deviation: Tensor
    skinning: Skinning | None = None
    landmarks: Mapping[str, int] = field(default_factory=dict)

    @property
    def vertex_count(self) -> int:
        return self.mean.shape[0]

    @property
    def joint_count(self) -> int:
        return 1 if self.skinning is None else self.skinning.parents.shape[0]

    @property
    def identity_count(self) -> int:
        return self.identity_basis.shape[2]

    @property
    def expression_count(self) -> int:
        return self.expression_basis.shape[2]

    @property
    def parameter_count(self) -> int:
        """3 J pose, 3 translation, K identity, L expression: the order of the columns of `model_jacobian`."""
        return 3 * self.joint_count + 3 + self.identity_count + self.expression_count


def check_model(model: LinearModel, *, where: str = "LinearModel") -> LinearModel:
    """The model, if its parts fit together.

    Raises:
        ArgumentError: shapes, indices, values that are not finite, deviations not above 0, weights that do not add up to 1, a skeleton
            whose parents do not come first.
    """
    check_shape(model.mean, ["V", 3], name="mean", where=where, finite=True)
    check_shape(model.faces, ["F", 3], name="faces", where=where, integer=True)
    count = model.vertex_count
    check_indices(model.faces, count, name="faces", where=where)
    for name in ("identity", "expression"):
        basis, deviation = getattr(model, f"{name}_basis"), getattr(model, f"{name}_deviation")
        check_shape(basis, [count, 3, "K"], name=f"{name}_basis", where=where, finite=True)
        check_shape(deviation, [basis.shape[2]], name=f"{name}_deviation", where=where, finite=True)
        if not bool((deviation > 0).all()):
            raise ArgumentError(f"{where}: `{name}_deviation` must be above 0")
    for name, vertex in model.landmarks.items():
        if not 0 <= vertex < count:
            raise ArgumentError(f"{where}: landmark {name!r} is vertex {vertex} of {count}")
    if model.skinning is not None:
        _check_skinning(model.skinning, count, where)
    return model


def _check_skinning(skinning: Skinning, vertex_count: int, where: str) -> None:
    check_shape(skinning.parents, ["J"], name="parents", where=where, integer=True)
    parents = skinning.parents.tolist()
    joints = len(parents)
    if not parents or parents[0] != -1 or any(not 0 <= parent < joint for joint, parent in enumerate(parents) if joint > 0):
        raise ArgumentError(f"{where}: `parents` must be -1 for joint 0 and an earlier joint for every other, got {parents}")
    check_shape(skinning.joint_regressor, [joints, vertex_count], name="joint_regressor", where=where, finite=True)
    check_shape(skinning.weights, [vertex_count, joints], name="weights", where=where, finite=True)
    for name, value in (("joint_regressor", skinning.joint_regressor), ("weights", skinning.weights)):
        sums = value.sum(1)
        if value.numel() and not bool(((sums - 1).abs() < 1e-2).all()):
            worst = int((sums - 1).abs().argmax())
            raise ArgumentError(f"{where}: rows of `{name}` must add up to 1, row {worst} adds up to {float(sums[worst]):.4g}")
    if bool((skinning.weights < -1e-6).any()):
        raise ArgumentError(f"{where}: `weights` must not be negative")
    if skinning.pose_basis is not None:
        check_shape(skinning.pose_basis, [vertex_count, 3, 9 * (joints - 1)], name="pose_basis", where=where, finite=True)


def pose_model(
    model: LinearModel,
    identity: Float[Tensor, "... K"] | None = None,
    expression: Float[Tensor, "... L"] | None = None,
    pose: Float[Tensor, "... J 3"] | None = None,
    translation: Float[Tensor, "... 3"] | None = None,
) -> Float[Tensor, "... V 3"]:
    """The vertices of a model with these parameters. What is not given is zero: the mean shape at rest.

    Args:
        identity, expression: [..., K] and [..., L] coefficients, in the unit of the model's deviations. Leading dimensions broadcast.
        pose: [..., J, 3] rotation vectors (radians), each in the frame of its parent; row 0 turns the whole about the root joint (without
            a skeleton, J is 1 and the turn is about the origin).
        translation: [..., 3] in scene units.

    Raises:
        ArgumentError: shapes.

    Gradient: all parameters, and the tensors of the model. Source: Loper et al. 2015 (SMPL); Blanz and Vetter 1999 without a skeleton.
    """
    where = "pose_model"
    wanted = {
        "identity": [model.identity_count],
        "expression": [model.expression_count],
        "pose": [model.joint_count, 3],
        "translation": [3],
    }
    given = {"identity": identity, "expression": expression, "pose": pose, "translation": translation}
    values = {}
    for name, shape in wanted.items():
        value = given[name]
        values[name] = (
            model.mean.new_zeros(shape) if value is None else check_shape(value, [..., *shape], name=name, where=where).to(model.mean)
        )
    shaped = shape_model(model, values["identity"], values["expression"])
    return _skinned(model, shaped, so3_exp(values["pose"])) + values["translation"][..., None, :]


def pose_mesh(model: LinearModel, *args: Tensor | None, **parameters: Tensor | None) -> Mesh:
    """`pose_model` as a mesh, for one set of parameters."""
    return Mesh(vertices=pose_model(model, *args, **parameters), faces=model.faces)


def shape_model(model: LinearModel, identity: Tensor, expression: Tensor) -> Tensor:
    """[..., V, 3] the shape at rest: mean and both bases."""
    moved = torch.einsum("vck,...k->...vc", model.identity_basis, identity)
    return model.mean + moved + torch.einsum("vck,...k->...vc", model.expression_basis, expression)


def _skinned(model: LinearModel, shaped: Tensor, rotations: Tensor) -> Tensor:
    """[..., V, 3] the shape moved by rotations [..., J, 3, 3] of the joints."""
    if model.skinning is None:
        return shaped @ rotations[..., 0, :, :].mT
    shares, _, _ = _joint_shares(model.skinning, shaped, rotations)
    return torch.stack(shares).sum(0)


def _joint_shares(skinning: Skinning, shaped: Tensor, rotations: Tensor) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Of each joint: what it adds to the vertices [..., V, 3], its rotation [..., 3, 3] and its place [..., 3] in the model's frame."""
    joints = skinning.joint_regressor @ shaped
    if skinning.pose_basis is not None:
        feature = (rotations[..., 1:, :, :] - torch.eye(3).to(rotations)).flatten(-3)
        shaped = shaped + torch.einsum("vcp,...p->...vc", skinning.pose_basis, feature)
    turns: list[Tensor] = [rotations[..., 0, :, :]]
    places: list[Tensor] = [joints[..., 0, :].expand(turns[0].shape[:-1]) if joints.dim() < turns[0].dim() else joints[..., 0, :]]
    for joint, parent in enumerate(skinning.parents.tolist()):
        if joint > 0:
            arm = joints[..., joint, :] - joints[..., parent, :]
            places.append(places[parent] + (turns[parent] @ arm[..., None])[..., 0])
            turns.append(turns[parent] @ rotations[..., joint, :, :])
    shares = []
    for joint, (turn, place) in enumerate(zip(turns, places)):
        local = shaped - joints[..., joint : joint + 1, :]
        shares.append(skinning.weights[:, joint, None] * (local @ turn.mT + place[..., None, :]))
    return shares, turns, places


def model_jacobian(
    model: LinearModel, identity: Tensor, expression: Tensor, pose: Tensor, translation: Tensor
) -> tuple[Float[Tensor, "V 3"], Float[Tensor, "V 3 P"]]:
    """Vertices and their exact derivatives by (pose 3 J, translation 3, identity K, expression L), for one set of parameters. No graph."""
    with torch.no_grad():
        rotations, axes = so3_exp(pose), so3_left_jacobian(pose).mT
        shaped = shape_model(model, identity, expression)
        vertices = _skinned(model, shaped, rotations)
        turned = _pose_columns(model, shaped, rotations, axes)
        basis = torch.cat([model.identity_basis, model.expression_basis], 2).permute(2, 0, 1)
        blend = _skinned(model, shaped + basis, rotations) - vertices  # affine in the shape: the difference is the derivative
        shift = torch.eye(3).to(vertices)[:, None].expand(3, model.vertex_count, 3)
        jacobian = torch.cat([turned, shift, blend]).permute(1, 2, 0)
    return vertices + translation, jacobian


def _pose_columns(model: LinearModel, shaped: Tensor, rotations: Tensor, axes: Tensor) -> Tensor:
    """[3 J, V, 3] derivatives of the vertices by the rotation vectors: a joint turns all that hangs on it about its place.

    axes: [J, 3, 3] the rows are what the three numbers of each joint's vector turn about, in the frame of its parent.
    """
    skinning = model.skinning
    if skinning is None:
        return _turned_about(axes[0], shaped @ rotations[0].mT)
    shares, turns, places = _joint_shares(skinning, shaped, rotations)
    hanging, weights = list(shares), list(skinning.weights.unbind(1))
    parents = skinning.parents.tolist()
    for joint in range(len(parents) - 1, 0, -1):
        hanging[parents[joint]] = hanging[parents[joint]] + hanging[joint]
        weights[parents[joint]] = weights[parents[joint]] + weights[joint]
    mixed = (skinning.weights @ torch.stack(turns).flatten(1)).view(-1, 3, 3)
    columns = []
    for joint, parent in enumerate(parents):
        here = axes[joint] if parent < 0 else axes[joint] @ turns[parent].mT
        column = _turned_about(here, hanging[joint] - weights[joint][:, None] * places[joint])
        if skinning.pose_basis is not None and joint > 0:
            slope = (hat(axes[joint]) @ rotations[joint]).flatten(1).mT  # [9, 3] of the entries of the rotation
            column = column + (mixed @ (skinning.pose_basis[:, :, 9 * (joint - 1) : 9 * joint] @ slope)).permute(2, 0, 1)
        columns.append(column)
    return torch.cat(columns)


def _turned_about(axes: Tensor, arms: Tensor) -> Tensor:
    """[3, V, 3] how arms [V, 3] move when turned about each axis (a row of [3, 3])."""
    return torch.linalg.cross(axes[:, None].expand(-1, len(arms), -1), arms[None].expand(3, -1, -1))
