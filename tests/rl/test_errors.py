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
