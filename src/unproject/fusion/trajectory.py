"""Camera trajectories from RGB-D images alone: odometry against keyframes, loop closures, a pose graph over the keyframes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import UnprojectError
from ..lie.se3 import se3_inverse, se3_log
from .odometry import Alignment, OdometryOptions, RgbdLevel, align_rgbd, rgbd_pyramid
from .pose_graph import PoseEdges, optimize_pose_graph

LoadFrame = Callable[[int], tuple[Tensor, Tensor]]
TRACKED, KEYFRAME, LOST, UNREADABLE = "tracked", "keyframe", "lost", "unreadable"
_CACHED = 64  # pyramids of keyframes that are kept in memory


@dataclass(frozen=True, kw_only=True)
class TrajectoryOptions:
    """How the camera is followed.

    Attributes:
        odometry: alignment of two images.
        key_overlap: a frame that sees less of its keyframe than this share becomes a keyframe.
        key_turn_deg: or that has turned further.
        least_overlap, least_inliers: an alignment below is a failure.
        loop_overlap, loop_inliers: a loop closure must reach both.
        loop_candidates: earlier keyframes that a new one is compared with.
    """

    odometry: OdometryOptions = field(default_factory=OdometryOptions)
    key_overlap: float = 0.85
    key_turn_deg: float = 12.0
    least_overlap: float = 0.25
    least_inliers: float = 0.5
    loop_overlap: float = 0.35
    loop_inliers: float = 0.75
    loop_candidates: int = 4


@dataclass(frozen=True, kw_only=True)
class TrackStep:
    """One frame of a trajectory estimate. `estimate_trajectory` goes on behind a step that it is given.

    Attributes:
        index, total: frames done, and of how many.
        status: "tracked", "keyframe", "lost" (starts a new fragment) or "unreadable".
        quality: 0 to 1, share of the frame's pixels that fit.
        loops: loop closures so far.
        fragments: parts of the trajectory that do not connect; 1 if all is well.
        state: all that is known, as tensors.
        note: why a frame was lost or could not be read, else empty.
    """

    index: int
    total: int
    status: str
    quality: float
    loops: int
    fragments: int
    state: Mapping[str, Tensor]
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class EstimatedTrajectory:
    """Where the camera was.

    Attributes:
        world_from_camera: [N, 4, 4] float64; NaN for a frame without a pose. The first frame with one is the world.
        known: [N] bool, frames with a pose.
        fragment: [N] which connected part a frame belongs to, -1 for none. Poses of the largest part are known; others are not.
    """

    world_from_camera: Float[Tensor, "N 4 4"]
    known: Tensor
    fragment: Tensor


def estimate_trajectory(
    load: LoadFrame,
    count: int,
    intrinsics: Float[Tensor, "3 3"],
    options: TrajectoryOptions | None = None,
    *,
    resume: Mapping[str, Tensor] | None = None,
) -> Iterator[TrackStep]:
    """Follow the camera through RGB-D frames, a step a frame; `trajectory_of(step.state)` has the poses.

    Args:
        load: frame index to (depth [H, W] in scene units, rgb [H, W, 3] uint8); an UnprojectError or OSError marks the frame unreadable.
        count: number of frames.
        intrinsics: of all frames, without skew, pixel coordinates from the image's corner.
        resume: `state` of the step to go on behind.
    """
    tracker = _Tracker(load, intrinsics, options or TrajectoryOptions(), count, resume)
    for index in range(tracker.done, count):
        yield tracker.track(index)


def trajectory_of(state: Mapping[str, Tensor]) -> EstimatedTrajectory:
    """The poses of a state: those of the largest connected fragment, with its first frame as the world."""
    key, fragment = state["key"], state["fragment"].clone()
    known = key >= 0
    poses = torch.full((len(key), 4, 4), torch.nan, dtype=torch.float64)
    poses[known] = state["key_poses"][key[known]] @ state["key_from_camera"][known]
    fragment[~known] = -1
    if bool(known.any()):
        values, counts = torch.unique(fragment[known], return_counts=True)
        known = fragment == values[counts.argmax()]
        poses[~known] = torch.nan
        first = int(known.nonzero()[0])
        poses[known] = se3_inverse(poses[first]) @ poses[known]
    return EstimatedTrajectory(world_from_camera=poses, known=known, fragment=fragment)


class _Tracker:
    """The state between frames; everything that matters is in tensors, so that a run can go on from a file."""

    def __init__(self, load: LoadFrame, intrinsics: Tensor, options: TrajectoryOptions, count: int, resume: Mapping[str, Tensor] | None):
        self.load, self.intrinsics, self.options, self.count = load, intrinsics, options, count
        self.pyramids: dict[int, list[RgbdLevel]] = {}
        motion = torch.eye(4, dtype=torch.float64)
        empty = torch.zeros(0, dtype=torch.int64)
        self.state: dict[str, Tensor] = {
            "key": torch.full((count,), -1),  # [N] keyframe row of each frame, -1: none
            "key_from_camera": motion.repeat(count, 1, 1),
            "fragment": torch.full((count,), -1),
            "key_frames": empty,  # [K] frame index of each keyframe
            "key_poses": motion.repeat(0, 1, 1),  # [K, 4, 4] fragment_from_camera
            "edge_ends": torch.zeros((0, 2), dtype=torch.int64),
            "edge_motions": motion.repeat(0, 1, 1),
            "edge_information": torch.zeros((0, 6, 6), dtype=torch.float64),
            "edge_loop": torch.zeros(0, dtype=torch.bool),
            "velocity": motion,
            "done": torch.tensor(0),
        }
        if resume is not None:
            self.state = {name: tensor.clone() for name, tensor in resume.items()}
        self.done = int(self.state["done"])

    # ---- frames ----

    def track(self, index: int) -> TrackStep:
        state = self.state
        state["done"] = torch.tensor(index + 1)
        try:
            pyramid = self._pyramid(index)
        except (UnprojectError, OSError) as error:
            return self._step(index, UNREADABLE, 0.0, str(error))
        previous = (state["key"][:index] >= 0).nonzero().flatten()
        if previous.numel() == 0:
            self._add_key(index, pyramid, torch.eye(4, dtype=torch.float64), fragment=0)
            return self._step(index, KEYFRAME, 1.0)
        last = int(previous[-1])
        found = self._follow(index, last, pyramid)
        if found is None:
            self._add_key(index, pyramid, torch.eye(4, dtype=torch.float64), fragment=self._fragments())
            state["velocity"] = torch.eye(4, dtype=torch.float64)
            self._close_loops(pyramid)
            return self._step(index, LOST, 0.0, f"frame {index} does not align with what was seen before")
        key, alignment = found
        pose = alignment.target_from_source
        if int(state["key"][last]) == key and last == index - 1:
            state["velocity"] = se3_inverse(state["key_from_camera"][last]) @ pose
        else:
            state["velocity"] = torch.eye(4, dtype=torch.float64)
        self._place(index, key, pose)
        turn = float(se3_log(pose)[3:].norm())
        if alignment.overlap >= self.options.key_overlap and turn < self.options.key_turn_deg * torch.pi / 180:
            return self._step(index, TRACKED, alignment.quality)
        fragment = int(state["fragment"][state["key_frames"][key]])
        self._add_key(index, pyramid, state["key_poses"][key] @ pose, fragment)
        self._add_edge(key, len(state["key_frames"]) - 1, alignment, loop=False)
        self._close_loops(pyramid)
        return self._step(index, KEYFRAME, alignment.quality)

    def _follow(self, index: int, last: int, pyramid: list[RgbdLevel]) -> tuple[int, Alignment] | None:
        """The keyframe that a frame is measured against, and the measurement; None when nothing fits."""
        state = self.state
        key = int(state["key"][last])
        guess = state["key_from_camera"][last]
        for start in (guess @ state["velocity"], guess):
            alignment = self._align(pyramid, key, start)
            if self._good(alignment):
                return key, alignment
        if last != int(state["key_frames"][key]):  # the keyframe may be too far: the last frame becomes one
            pose, fragment = state["key_poses"][key] @ guess, int(state["fragment"][last])
            neighbour = self._pyramid(last)
            alignment = align_rgbd(pyramid, neighbour, options=self.options.odometry)
            if self._good(alignment):
                between = self._align(neighbour, key, guess)
                self._add_key(last, neighbour, pose, fragment)
                self._add_edge(key, len(state["key_frames"]) - 1, between, loop=False)
                return len(state["key_frames"]) - 1, alignment
        for other in self._similar(pyramid, range(len(state["key_frames"]))):
            alignment = self._align(pyramid, other, torch.eye(4, dtype=torch.float64))
            if self._certain(alignment):
                return other, alignment
        return None

    def _good(self, alignment: Alignment) -> bool:
        return alignment.overlap >= self.options.least_overlap and alignment.inliers >= self.options.least_inliers

    def _certain(self, alignment: Alignment) -> bool:
        return alignment.overlap >= self.options.loop_overlap and alignment.inliers >= self.options.loop_inliers

    # ---- keyframes and loops ----

    def _close_loops(self, pyramid: list[RgbdLevel]) -> None:
        """Compare the newest keyframe with earlier ones: nearby in the estimate, or alike in another fragment."""
        state = self.state
        new = len(state["key_frames"]) - 1
        fragments = state["fragment"][state["key_frames"]]
        same = [k for k in range(new - 1) if fragments[k] == fragments[new]]
        others = [k for k in range(new) if fragments[k] != fragments[new]]
        changed = False
        for key in self._nearby(new, same, pyramid):
            start = se3_inverse(state["key_poses"][key]) @ state["key_poses"][new]
            changed |= self._try_loop(key, new, pyramid, start)
        for key in self._similar(pyramid, others):
            if fragments[key] != fragments[new] and self._try_loop(key, new, pyramid, torch.eye(4, dtype=torch.float64)):
                self._join(int(fragments[new]), int(fragments[key]), new)
                fragments, changed = state["fragment"][state["key_frames"]], True
        if changed:
            self._optimize()

    def _nearby(self, new: int, keys: list[int], pyramid: list[RgbdLevel]) -> list[int]:
        """Earlier keyframes whose view overlaps the new one's most, by the poses."""
        if not keys:
            return []
        relative = se3_inverse(self.state["key_poses"][keys]) @ self.state["key_poses"][new]
        depth = pyramid[-1].depth
        reach = float(depth[depth > 0].median()) if bool((depth > 0).any()) else 1.0
        cosine = relative[:, 2, 2]
        distance = relative[:, :3, 3].norm(dim=1) / reach
        score = distance + (1 - cosine)
        order = [i for i in score.argsort().tolist() if cosine[i] > 0.7 and distance[i] < 0.7]
        return [keys[i] for i in order[: self.options.loop_candidates]]

    def _similar(self, pyramid: list[RgbdLevel], keys: Iterator[int] | range | list[int]) -> list[int]:
        """Keyframes whose coarsest image looks most like this one."""
        own = _thumbnail(pyramid)
        scored = [(float((_thumbnail(self._key_pyramid(key)) * own).mean()), key) for key in keys]
        return [key for score, key in sorted(scored, reverse=True)[: self.options.loop_candidates] if score > 0.3]

    def _try_loop(self, key: int, new: int, pyramid: list[RgbdLevel], start: Tensor) -> bool:
        alignment = self._align(pyramid, key, start)
        if self._certain(alignment):
            self._add_edge(key, new, alignment, loop=True)
            return True
        return False

    def _join(self, fragment: int, into: int, new: int) -> None:
        """Move a fragment into the frame of another, by the newest edge, which ends in keyframe `new`."""
        state = self.state
        first, motion = int(state["edge_ends"][-1, 0]), state["edge_motions"][-1]
        move = state["key_poses"][first] @ motion @ se3_inverse(state["key_poses"][new])
        mine = state["fragment"][state["key_frames"]] == fragment
        state["key_poses"][mine] = move @ state["key_poses"][mine]
        state["fragment"][state["fragment"] == fragment] = into

    def _optimize(self) -> None:
        state = self.state
        first, second = state["edge_ends"].unbind(1)
        edges = PoseEdges(
            first=first,
            second=second,
            first_from_second=state["edge_motions"],
            information=state["edge_information"],
            robust=state["edge_loop"],
        )
        state["key_poses"] = optimize_pose_graph(state["key_poses"], edges).poses

    # ---- the tensors ----

    def _place(self, index: int, key: int, pose: Tensor) -> None:
        state = self.state
        state["key"][index], state["key_from_camera"][index] = key, pose
        state["fragment"][index] = state["fragment"][state["key_frames"][key]]

    def _add_key(self, index: int, pyramid: list[RgbdLevel], pose: Tensor, fragment: int) -> None:
        state = self.state
        state["key_frames"] = torch.cat([state["key_frames"], torch.tensor([index])])
        state["key_poses"] = torch.cat([state["key_poses"], pose[None]])
        state["fragment"][index] = fragment
        self._remember(index, pyramid)
        self._place(index, len(state["key_frames"]) - 1, torch.eye(4, dtype=torch.float64))

    def _add_edge(self, first: int, second: int, alignment: Alignment, *, loop: bool) -> None:
        state = self.state
        state["edge_ends"] = torch.cat([state["edge_ends"], torch.tensor([[first, second]])])
        state["edge_motions"] = torch.cat([state["edge_motions"], alignment.target_from_source[None]])
        state["edge_information"] = torch.cat([state["edge_information"], _believable(alignment.information)[None]])
        state["edge_loop"] = torch.cat([state["edge_loop"], torch.tensor([loop])])

    def _fragments(self) -> int:
        fragments = self.state["fragment"]
        return int(torch.unique(fragments[fragments >= 0]).max()) + 1

    def _step(self, index: int, status: str, quality: float, note: str = "") -> TrackStep:
        fragments = self.state["fragment"]
        return TrackStep(
            index=index + 1,
            total=self.count,
            status=status,
            quality=quality,
            loops=int(self.state["edge_loop"].sum()),
            fragments=int(torch.unique(fragments[fragments >= 0]).numel()),
            state={name: tensor.clone() for name, tensor in self.state.items()},
            note=note,
        )

    # ---- images ----

    def _pyramid(self, index: int) -> list[RgbdLevel]:
        if index not in self.pyramids:
            depth, rgb = self.load(index)
            return rgbd_pyramid(depth, rgb, self.intrinsics, self.options.odometry)
        return self.pyramids[index]

    def _key_pyramid(self, key: int) -> list[RgbdLevel]:
        index = int(self.state["key_frames"][key])
        pyramid = self._pyramid(index)
        self._remember(index, pyramid)
        return pyramid

    def _remember(self, index: int, pyramid: list[RgbdLevel]) -> None:
        self.pyramids.pop(index, None)
        self.pyramids[index] = pyramid
        while len(self.pyramids) > _CACHED:
            self.pyramids.pop(next(iter(self.pyramids)))

    def _align(self, pyramid: list[RgbdLevel], key: int, start: Tensor) -> Alignment:
        return align_rgbd(pyramid, self._key_pyramid(key), start=start, options=self.options.odometry)


def _thumbnail(pyramid: list[RgbdLevel]) -> Tensor:
    """The coarsest image with mean 0 and deviation 1."""
    image = pyramid[-1].intensity
    return (image - image.mean()) / image.std().clamp_min(1e-3)


def _believable(information: Tensor) -> Tensor:
    """What a measurement is worth: its pixels are not independent, and what the model leaves out adds about 0.5 mm and 0.02 degrees a metre
    of depth, so that no measurement is perfect.
    """
    covariance = torch.linalg.inv(information / 500 + 1e-6 * torch.eye(6, dtype=torch.float64))
    floor = torch.tensor([5e-4] * 3 + [4e-4] * 3, dtype=torch.float64) ** 2
    return torch.linalg.inv(covariance + torch.diag(floor))


def align_trajectories(estimate: Float[Tensor, "N 4 4"], truth: Float[Tensor, "N 4 4"]) -> tuple[Tensor, Tensor]:
    """Rigidly move an estimate onto the truth by least squares of the camera positions.

    Returns:
        The moved estimate [N, 4, 4], and each camera position's error [N] (its root mean square is the absolute trajectory error).

    Source: Umeyama 1991 without scale; Sturm et al. 2012 (the measure).
    """
    a, b = estimate[:, :3, 3].double(), truth[:, :3, 3].double()
    u, _, v = torch.linalg.svd((b - b.mean(0)).mT @ (a - a.mean(0)))
    flip = torch.diag(torch.tensor([1.0, 1.0, float(torch.sign(torch.linalg.det(u @ v)))], dtype=torch.float64))
    rotation = u @ flip @ v
    move = torch.eye(4, dtype=torch.float64)
    move[:3, :3], move[:3, 3] = rotation, b.mean(0) - rotation @ a.mean(0)
    moved = move @ estimate.double()
    return moved, (moved[:, :3, 3] - b).norm(dim=1)
