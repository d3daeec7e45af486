"""Which smoothing length the predictions of held-out points speak for: that of most places, and another one where it is surely better."""

from __future__ import annotations

import torch
from torch import Tensor

from unproject.fit.implicit import make_lattice, node_positions
from unproject.fit.scene import make_scene
from unproject.fit.smoothing import LevelState, first_state, make_problem
from unproject.fit.trials import _distance_to_own_side, choose_lengths, forget_doubt, make_question, next_trial


def measured(scatter: list[Tensor], seed: int = 0) -> list[Tensor]:
    """What three lengths left of held-out points: the same chance for all lengths, scaled by each one's scatter."""
    chance = torch.randn(len(scatter[0]), generator=torch.Generator().manual_seed(seed))
    return [torch.stack([chance * s, torch.zeros_like(chance)], dim=1) for s in scatter]


def places(count: int) -> Tensor:
    return torch.rand(count, 3, generator=torch.Generator().manual_seed(1))


def test_a_thin_part_gets_its_own_length_and_does_not_decide_for_all() -> None:
    where = places(3000)
    thin = where[:, 0] < 0.08
    rough = torch.where(thin, 1.0, 1.05)
    whole, choice = choose_lengths(measured([torch.where(thin, 4.0, 1.0), torch.where(thin, 3.0, 1.02), rough]), [0.0] * 3, where, 0.01)
    assert whole == 0
    assert float((choice[where[:, 0] < 0.05] == 2).float().mean()) > 0.9
    assert float((choice[where[:, 0] > 0.2] == 0).float().mean()) > 0.99


def test_chance_gives_no_place_its_own_length() -> None:
    where = places(2000)
    independent = [measured([torch.ones(2000)], seed)[0] for seed in (1, 2, 3)]
    whole, choice = choose_lengths(independent, [0.0] * 3, where, 0.01)
    assert float((choice == whole).float().mean()) > 0.9


def test_what_a_lattice_cannot_tell_is_no_reason() -> None:
    where = places(1000)
    tiny = [torch.full((1000,), 1e-6 * factor) for factor in (3.0, 2.0, 1.0)]
    whole, choice = choose_lengths(measured(tiny), [0.0] * 3, where, 0.01)
    assert whole == 0 and bool((choice == 0).all())


def test_no_points_asked() -> None:
    whole, choice = choose_lengths([torch.zeros(0, 2)] * 3, [0.0] * 3, torch.zeros(0, 3), 0.01)
    assert whole == 0 and len(choice) == 0


def test_trials_go_on_while_ever_more_of_thin_parts_is_found() -> None:
    def score(*distances: float) -> torch.Tensor:
        return torch.tensor([[distance, 0.0] for distance in distances])

    few = {1: score(0.1, -0.1, 0.1, 9.0), 2: score(0.2, -0.2, 0.2, 8.0)}  # most points prefer length 1, the thin part shorter ones
    assert next_trial(few, 1, 6, cell=1.0, noise=9.0) == 3
    assert next_trial({**few, 3: score(0.2, -0.2, 0.2, 8.0)}, 1, 6, cell=1.0, noise=9.0) == 0  # no more is found
    assert next_trial(few, 1, 3, cell=1.0, noise=9.0) == 0  # there is no shorter one
    lost = {1: score(0.5, -0.5, 0.5, 1.6), 2: score(0.3, -0.3, 0.3, 9.0)}  # one is lost farther away, yet most come closer
    assert next_trial(lost, 1, 6, cell=1.0, noise=9.0) == 3
    assert next_trial({**lost, 3: score(0.3, -0.3, 0.3, 9.0)}, 1, 6, cell=1.0, noise=9.0) == 0  # they no longer do
    assert next_trial(lost, 1, 6, cell=20.0, noise=9.0) == 0  # the lattice cannot tell


def test_trials_go_on_while_more_is_missed_than_noise_explains() -> None:
    rough = torch.tensor([[1.0, 0.0]] * 4)
    assert next_trial({1: rough, 2: 1.01 * rough}, 1, 6, cell=1.0, noise=9.0) == 0
    assert next_trial({1: rough, 2: 1.01 * rough}, 1, 6, cell=1.0, noise=1.0) == 3
    assert next_trial({1: rough, 2: 1.01 * rough}, 1, 6, cell=1.0, noise=1.5) == 0
    assert next_trial({1: rough, 2: 1.01 * rough}, 1, 6, cell=40.0, noise=0.0) == 0  # the lattice cannot tell


def test_where_the_function_is_small_without_a_surface_points_are_lost() -> None:
    random = torch.Generator().manual_seed(3)
    points = torch.cat([torch.rand(500, 2, generator=random), 0.1 * torch.rand(500, 1, generator=random) - 0.05], dim=1)
    lattice = make_lattice(points, low=torch.tensor([-0.5] * 3), high=torch.tensor([1.5] * 3), spacing=0.05, dilations=4)
    heights, up = node_positions(lattice)[:, 2], torch.tensor([[0.0, 0, 1]]).expand(500, 3)
    problem = make_problem(lattice, points, heights, point_spacing=0.05, trust_normals=True, scatter=0.01)
    sheet = first_state(problem, up)
    assert torch.allclose(_distance_to_own_side(problem, sheet, points, up), -points[:, 2], atol=1e-5)
    assert bool(_distance_to_own_side(problem, sheet, points, -up).isnan().all())  # it faces the other way
    collapsed = first_state(make_problem(lattice, points, 1e-4 + heights.square(), point_spacing=0.05, trust_normals=True), up)
    assert bool(_distance_to_own_side(problem, collapsed, points, up).isnan().all())


def test_measured_normals_let_the_best_length_win_however_narrowly() -> None:
    where = places(1000)
    close = measured([torch.full((1000,), 1.0002), torch.ones(1000)])
    facing = [torch.stack([score[:, 0], torch.full((1000,), 0.1)], dim=1) for score in close]
    assert choose_lengths(close, [1.0, 1.0], where, 1.0)[0] == 0 and choose_lengths(facing, [1.0, 1.0], where, 1.0)[0] == 1


def test_a_surface_that_predicts_little_better_must_not_be_much_larger() -> None:
    where = places(1000)
    close = measured([torch.full((1000,), 1.01), torch.ones(1000)])
    facing = [torch.stack([score[:, 0], torch.full((1000,), 0.1)], dim=1) for score in close]
    assert choose_lengths(facing, [1.0, 1.003], where, 1.0)[0] == 1
    assert choose_lengths(facing, [1.0, 1.1], where, 1.0)[0] == 0


def test_no_place_gets_a_length_whose_surface_is_larger_than_it_predicts_better() -> None:
    where = places(3000)
    close = measured([torch.where(where[:, 0] < 0.2, 2.0, 1.0), torch.where(where[:, 0] < 0.2, 1.0, 1.8)])
    facing = [torch.stack([score[:, 0], torch.full((3000,), 0.1)], dim=1) for score in close]
    whole, same = choose_lengths(facing, [1.0, 1.0], where, 0.01)
    assert whole == 0 and float((same[where[:, 0] < 0.05] == 1).float().mean()) > 0.9
    _, larger = choose_lengths(facing, [1.0, 40.0], where, 0.01)
    assert bool((larger == 0).all())


def test_without_normals_a_second_skin_predicts_nothing_better_where_sides_were_moved_apart() -> None:
    where = places(2000)
    close = measured([torch.full((2000,), 1.2), torch.ones(2000)])
    skinned = [torch.cat([score, torch.full((2000, 1), area)], dim=1) for score, area in zip(close, (1.0, 2.0))]
    alike = [torch.cat([score, torch.ones(2000, 1)], dim=1) for score in close]
    assert choose_lengths(alike, [0.0] * 2, where, 0.01)[0] == 1
    whole, choice = choose_lengths(skinned, [0.0] * 2, where, 0.01)
    assert whole == 0 and bool((choice == 0).all())


def test_points_asked_say_nothing_about_where_sides_are() -> None:
    random = torch.Generator().manual_seed(2)
    up = torch.where(torch.rand(4000, generator=random) < 0.5, 1.0, -1.0)
    flat = 2 * torch.rand(4000, 2, generator=random) - 1
    raw = torch.cat([flat, (0.02 * up + 0.02 * torch.randn(4000, generator=random))[:, None]], dim=1)
    normals = torch.stack([torch.zeros(4000), torch.zeros(4000), up], dim=1)
    scene = make_scene(raw, resolution=None, where="test")
    question = make_question(scene, normals, raw)
    other = make_question(scene, normals, torch.where(question.asked[:, None], raw + 0.01 * normals, raw))
    told = ~question.asked
    assert torch.allclose(question.points[told], other.points[told]) and not torch.equal(question.points[told], raw[told])
    was = question.points - question.moves[:, None] * normals
    assert torch.allclose(was, raw, atol=1e-6)


def test_points_that_a_smoother_surface_missed_are_looked_for_again() -> None:
    fitted, first = torch.tensor([[0.0, 0, 1]] * 2), torch.tensor([[1.0, 0, 0]] * 2)
    weight = torch.tensor([0.9, 0.1])
    state = LevelState(
        values=torch.zeros(1), normals=fitted, weight=weight, slope_weight=weight, reach=1.0, noise=1.0, relief=torch.ones(1)
    )
    again = forget_doubt(state, first)
    assert torch.equal(again.normals, torch.stack([fitted[0], first[1]]))
    assert torch.equal(again.weight, torch.ones(2)) and torch.equal(again.slope_weight, torch.ones(2))
