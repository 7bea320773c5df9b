"""What a resumed run tells about a changed page."""

import yaml

from recipes.running.run_folder import differences


def told(old: object, new: object) -> list[str]:
    return differences(yaml.safe_dump(new, sort_keys=False), yaml.safe_dump(old, sort_keys=False))


def stage(*rewards: object) -> dict[str, object]:
    return {"stages": [{"name": "grpo", "rewards": list(rewards)}]}


def test_every_changed_leaf_is_told_by_its_key() -> None:
    old = {"run": {"seed": 0}, "stages": [{"name": "sft", "lr": 1.0}], "data": [1, 2]}
    new = {"run": {"seed": 1}, "stages": [{"name": "sft", "lr": 2.0}], "data": [1, 3]}
    assert told(old, new) == ["run.seed: 0 -> 1", "stages.sft.lr: 1.0 -> 2.0", "data.1: 2 -> 3"]
    assert told(old, old) == []


def test_items_of_one_name_do_not_hide_each_other() -> None:
    one, two = {"name": "format", "pattern": "a"}, {"name": "format", "pattern": "b"}
    changed = {"name": "format", "pattern": "c"}
    assert told(stage(one, two), stage(changed, two)) == [
        "stages.grpo.rewards.format.pattern: a -> c"
    ]
    assert told(stage(one, two), stage(one, changed)) == [
        "stages.grpo.rewards.format[1].pattern: b -> c"
    ]
    assert told(stage(one), stage(one, one)) == [
        "stages.grpo.rewards.format[1].name: None -> format",
        "stages.grpo.rewards.format[1].pattern: None -> a",
    ]


def test_items_that_changed_places_are_told() -> None:
    one, two = {"name": "exact", "weight": 1}, {"name": "length", "weight": 2}
    assert told(stage(one, two), stage(two, one)) == [
        "stages.grpo.rewards (order): exact, length -> length, exact"
    ]


def test_where_a_run_lies_may_change() -> None:
    assert told({"run": {"root": "a"}}, {"run": {"root": "b"}}) == []
