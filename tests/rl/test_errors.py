import pickle

import pytest

from rl import errors


@pytest.mark.parametrize(
    "kind",
    [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.PlumblineError)
    ],
)
def test_every_error_crosses_a_process_boundary_whole(kind: type[errors.PlumblineError]) -> None:
    error = kind("lr is -1", where="page.yaml:3", expected="a positive number", do="set lr")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is kind
    assert str(copy) == str(error) == "page.yaml:3: lr is -1; expected a positive number. Set lr"
    assert copy.exit_code == kind.exit_code


def test_exit_codes() -> None:
    codes = {
        kind.__name__: kind.exit_code
        for kind in (errors.ConfigError, errors.DataError, errors.GateError, errors.RunError)
    }
    assert codes == {"ConfigError": 2, "DataError": 2, "GateError": 3, "RunError": 1}


def test_a_foreign_exception_becomes_ours_with_its_cause() -> None:
    cause = OSError("cut\n off")
    with (
        pytest.raises(errors.ModelError) as raised,
        errors.errors_as(
            errors.ModelError,
            "no weights: {error}",
            where=lambda error: f"in {type(error).__name__}",
            expected="a whole file",
            do="fetch it again",
        ),
    ):
        raise cause
    assert str(raised.value) == (
        "in OSError: no weights: OSError: cut off; expected a whole file. Fetch it again"
    )
    assert raised.value.__cause__ is cause


def test_an_error_of_ours_passes_unless_it_is_asked_for() -> None:
    ours = errors.DataError("truncated image")
    with pytest.raises(errors.DataError) as passed, errors.errors_as(errors.RunError, "{error}"):
        raise ours
    assert passed.value is ours
    with (
        pytest.raises(errors.RunError, match="DataError: truncated image") as turned,
        errors.errors_as(errors.RunError, "{error}", wraps_ours=True),
    ):
        raise ours
    assert turned.value.__cause__ is ours


def test_an_interrupt_passes() -> None:
    with pytest.raises(KeyboardInterrupt), errors.errors_as(errors.RunError, "{error}"):
        raise KeyboardInterrupt
