"""Every operator that has an example, by torch's own rules; and every operator has one."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch

from unproject.ops.examples import all_examples
from unproject.testing import check_operator

EXAMPLES = list(all_examples())


def operator_name(operator: Any) -> str:
    return operator.name.removeprefix("unproject::")


@pytest.mark.parametrize(("operator", "make"), EXAMPLES, ids=[f"{operator_name(op)}-{i}" for i, (op, _) in enumerate(EXAMPLES)])
def test_operator_obeys_torch(operator: Any, make: Any) -> None:
    check_operator(operator, make)


def test_every_operator_has_an_example() -> None:
    registered = {name.split("::")[1].split(".")[0] for name in torch._C._dispatch_get_all_op_names() if name.startswith("unproject::")}
    with_example = {operator_name(operator) for operator, _ in EXAMPLES}
    assert registered - with_example == set()
    assert len(with_example) > 5


def test_import_is_light() -> None:
    code = "import sys, unproject; print([m for m in ('numba', 'viser', 'tyro', 'matplotlib', 'trimesh') if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_first_call_does_not_load_the_compiler() -> None:
    code = "import sys, torch, unproject as up; x = torch.rand(9, 3); up.knn(x, x, 2); print('torch._dynamo' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"
