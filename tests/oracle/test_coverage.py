"""Every name of the house lists is compared with something independent: PyTorch, JAX or a closed form.

The other files here compare with PyTorch and JAX, and each says that it leaves none of its list out. This one
names the closed forms, which ``make test`` runs, and adds up.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from chainrule.losses import LOSSES
from chainrule.nn import INITS, LAYERS
from chainrule.ops import SAMPLES
from chainrule.ops.functions import FUNCTIONS
from chainrule.optim import AVERAGES, OPTIMIZERS, SCHEDULES, SOLVERS

TESTS = Path(__file__).parents[1]

LISTS = {
    "operations": {p.name for p in SAMPLES} | set(FUNCTIONS),
    "layers": set(LAYERS),
    "losses": set(LOSSES),
    "optimizers": set(OPTIMIZERS),
    "solvers": set(SOLVERS),
    "averages": set(AVERAGES),
    "schedules": set(SCHEDULES),
    "initialisers": set(INITS),
}

JAX = "oracle/test_ops_jax.py::test_every_primitive_is_compared"
TORCH = "oracle/test_nn_torch.py::test_every_layer_and_function_is_compared"

COMPARED: dict[str, dict[str, set[str]]] = {
    # {kind: {a test that goes through a whole list, or compares some names: those names}}
    "operations": {
        JAX: LISTS["operations"] - set(FUNCTIONS) - {"random_bits"},
        "oracle/test_ops_jax.py::test_every_registered_function_is_compared": set(FUNCTIONS),
        "test_random.py::test_the_known_answers_of_random123": {"random_bits"},
    },
    "layers": {TORCH: LISTS["layers"]},
    "losses": {"test_losses.py::test_every_loss_has_cases": LISTS["losses"]},
    "optimizers": {"test_optim.py::test_a_hundred_steps_equal_the_recurrence": LISTS["optimizers"]},
    "solvers": {
        "test_solver.py::test_a_network_as_scipy_trains_it": {"LBFGS"},
        "test_second_order.py::test_newton_finds_the_minimum_of_a_quadratic_in_one_step": {"Newton"},
        "test_second_order.py::test_hessian_free_minimizes_a_quadratic_in_a_few_steps": {"HessianFree"},
        "test_second_order.py::test_levenberg_marquardt_on_rosenbrock_as_scipy": {"LevenbergMarquardt"},
    },
    "averages": {"oracle/test_optim_torch.py::test_averages_are_those_of_swa_utils": {"EMA", "SWA"}},
    "schedules": {
        "oracle/test_optim_torch.py::test_schedules_are_the_same": {"Constant"},
        "test_schedules.py::test_linear_is_the_formula_and_then_constant": {"Linear"},
        "test_schedules.py::test_exponential_per_epoch_and_per_step": {"Exponential"},
        "test_schedules.py::test_step_drops_at_its_milestones": {"Step"},
        "test_schedules.py::test_cosine_is_the_formula": {"Cosine"},
        "test_schedules.py::test_warm_up_rises_in_equal_steps_and_hands_over": {"WarmUp"},
        "test_schedules.py::test_one_cycle_starts_peaks_and_ends_where_it_says": {"OneCycle"},
    },
    "initialisers": {
        "test_init.py::test_uniform_and_normal_draws_by_hand": {"Uniform", "Normal"},
        "test_recurrent.py::test_the_forget_gate_starts_open_and_the_state_at_zero": {"ConstantParts"},
        "test_init.py::test_uniform_schemes": {"GlorotUniform", "HeUniform"},
        "test_init.py::test_normal_schemes": {"GlorotNormal", "HeNormal", "LeCunNormal"},
        "test_init.py::test_orthogonal_keeps_lengths": {"Orthogonal"},
        "test_init.py::test_zeros_and_constants_are_what_they_say": {"Zeros", "Constant"},
    },
}


def exists(test: str) -> bool:
    path, _, name = test.partition("::")
    tree = ast.parse((TESTS / path).read_text(encoding="utf-8"))
    return name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("kind", LISTS)
def test_every_name_is_compared(kind, compared):
    tests = COMPARED[kind]
    assert [test for test in tests if not exists(test)] == []
    assert set().union(*tests.values()) == LISTS[kind]
    for test, names in tests.items():
        if not test.startswith("oracle/"):
            for name in names:
                compared(kind, name, "closed form")
