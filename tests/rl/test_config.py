"""Pages: every key's place, overrides, strict types, all faults at once, and the round trip."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field

from rl.config import (
    Component,
    ConfigFile,
    Problems,
    Section,
    build,
    build_component,
    config_of,
    dump,
    load_config,
)
from rl.config_yaml import parse_yaml
from rl.errors import ConfigError
from rl.plugins import unknown_name


class Clip(Section):
    name: ClassVar[str] = "grpo"
    group_size: int = 8
    clip_low: float = 0.2
    clip_high: float = 0.28


def find_algorithm(name: str) -> type[Clip]:
    if name != "grpo":
        raise unknown_name("algorithm", name, ["grpo", "dpo"])
    return Clip


class Algorithm(Component):
    def find(self, name: str) -> Any:
        return find_algorithm(name)


class Source(Section):
    path: str
    weight: float = Field(1.0, gt=0)


class Stage(Section):
    name: str
    from_: str = Field("base", alias="from")
    algorithm: Annotated[Any, Algorithm("tests")] | None = None
    data: tuple[Source | str, ...] = ()
    lr: float = 1e-5
    schedule: Literal["linear", "cosine"] = "cosine"


class Recipe(Section):
    seed: int = 0
    note: str = ""
    keep: bool = False
    stages: tuple[Stage, ...] = ()
    params: dict[str, Any] = Field({})


PAGE = """\
seed: 1
stages:
  - {name: sft, lr: 1e-3}
  - name: grpo
    from: sft
    algorithm: {name: grpo,
      group_size: 4}
    data: [a.jsonl, {path: b.jsonl, weight: 2}]
"""


@pytest.fixture
def page(tmp_path: Path) -> Path:
    path = tmp_path / "page.yaml"
    path.write_text(PAGE)
    return path


def faults(path: Path, *overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as error:
        build(Recipe, load_config(path, overrides))
    return [line.replace(f"{path.parent}/", "") for line in str(error.value).splitlines()]


def test_a_page_becomes_sections(page: Path) -> None:
    recipe = build(Recipe, load_config(page))
    assert recipe.stages[0].lr == 1e-3
    assert recipe.stages[1].algorithm == Clip(group_size=4)
    assert recipe.stages[1].from_ == "sft"
    assert recipe.stages[1].data == ("a.jsonl", Source(path="b.jsonl", weight=2.0))


def test_a_part_of_a_page_is_built_alone_and_an_absent_one_from_defaults(page: Path) -> None:
    loaded = load_config(page)
    assert build(Stage, loaded, "stages.sft").lr == 1e-3
    assert build(Stage, loaded.section("stages.0")).name == "sft"
    assert build(Clip, loaded, "absent.too") == Clip()
    algorithm = build_component(find_algorithm, loaded.section("stages.grpo.algorithm"))
    assert algorithm == Clip(group_size=4)


def test_every_key_knows_its_line(page: Path) -> None:
    loaded = load_config(page)
    lines = {
        "seed": 1,
        "stages": 2,
        "stages.sft.lr": 3,
        "stages.grpo.from": 5,
        "stages.grpo.algorithm.group_size": 7,
        "stages.1.data.1.weight": 8,
    }
    for key, line in lines.items():
        assert loaded.section(key).where == f"{page}:{line}"


def test_all_faults_come_at_once(page: Path) -> None:
    page.write_text("""\
sed: 1
keep: 1
stages:
  - {name: sft, lr: "1e-3", schedule: cos}
  - name: grpo
    algorithm:
      name: grpo
      clip_hgih: 0.3
    data: [{pth: b.jsonl, weight: 0}, 3]
  - {name: dpo, algorithm: dppo, frm: sft}
note: [x]
""")
    known = "name, from, algorithm, data, lr, schedule"
    assert set(faults(page)) == {
        "page.yaml:1 sed: unknown key. Did you mean seed? (seed, note, keep, stages, params)",
        "page.yaml:2 keep: got 1; expected true or false",
        'page.yaml:4 stages.sft.lr: got "1e-3"; expected a number',
        "page.yaml:4 stages.sft.schedule: got \"cos\"; expected 'linear' or 'cosine'",
        "page.yaml:8 stages.grpo.algorithm.clip_hgih: unknown key. Did you mean clip_high? "
        "(group_size, clip_low, clip_high)",
        "page.yaml:9 stages.grpo.data.0.path: missing; expected text",
        "page.yaml:9 stages.grpo.data.0.pth: unknown key. Did you mean path? (path, weight)",
        "page.yaml:9 stages.grpo.data.0.weight: got 0; expected greater than 0",
        "page.yaml:9 stages.grpo.data.1: got 3; expected a mapping or text",
        'page.yaml:10 stages.dpo.algorithm: unknown algorithm "dppo". '
        "Did you mean dpo? (dpo, grpo). Name one of these, or your own as docs/extending.md says",
        f"page.yaml:10 stages.dpo.frm: unknown key. Did you mean from? ({known})",
        'page.yaml:11 note: got ["x"]; expected text',
    }


def test_several_sections_share_one_list_of_problems(page: Path) -> None:
    loaded, problems = load_config(page, ["stages.sft.lr=x", "stages.grpo.lr=y"]), Problems()
    assert build(Stage, loaded, "stages.sft", problems=problems) is None
    assert build(Stage, loaded, "stages.grpo", problems=problems) is None
    assert len(problems.lines) == 2
    with pytest.raises(ConfigError):
        problems.raise_if_any()


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a: 1\nb: [1, 2\n", 3, "broken YAML"),
        ("a: 1\na: 2\n", 2, "duplicate key a (first at line 1)"),
        ("- 1\n- 2\n", 1, "the recipe is no mapping"),
        ("a: !!python/object:os.system x\n", 1, "is not allowed"),
        ("a: &x [*x]\n", 1, "an alias that holds itself"),
        ("\ta: 1\n", 1, "broken YAML"),
        ("? [a, b]\n: 1\n", 1, "a key must be one word"),
    ],
)
def test_a_page_that_cannot_be_read(page: Path, text: str, line: int, words: str) -> None:
    page.write_text(text)
    with pytest.raises(ConfigError) as error:
        load_config(page)
    assert str(error.value).startswith(f"{page}:{line}: ")
    assert words in str(error.value)


def test_a_missing_page(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: cannot be read: No such file"):
        load_config(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("1.0e-3", 1e-3),
        ("5E4", 5e4),
        (".5", 0.5),
        ("-.inf", float("-inf")),
        ("8", 8),
        ("010", "010"),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("2020-01-01", "2020-01-01"),
        ("on", "on"),
        ("no", "no"),
        ("true", True),
        ("~", None),
        ("", None),
        ("'8'", "8"),
    ],
)
def test_scalars_are_what_they_look_like(text: str, value: object) -> None:
    read = parse_yaml(f"key: {text}", "page").plain()["key"]
    assert (read, type(read)) == (value, type(value))


def test_overrides(page: Path) -> None:
    overrides = [
        "seed=3",
        "stages.grpo.lr=5e-5",
        "stages.0.schedule=linear",
        "stages.grpo.algorithm.clip_low=0.1",
        "stages.grpo.data.1.path=c=d.jsonl",
        "params.new.key=[1, {a: b}]",
        "note=",
    ]
    loaded = load_config(page, [*overrides, "note=x"])
    recipe = build(Recipe, loaded)
    assert (recipe.seed, recipe.note) == (3, "x")
    assert (recipe.stages[1].lr, recipe.stages[0].schedule) == (5e-5, "linear")
    assert recipe.stages[1].algorithm == Clip(group_size=4, clip_low=0.1)
    assert recipe.stages[1].data[1] == Source(path="c=d.jsonl", weight=2.0)
    assert recipe.params == {"new": {"key": [1, {"a": "b"}]}}


def test_an_override_adds_a_key_to_the_short_form_of_a_component() -> None:
    stages = [{"name": "a", "algorithm": "grpo"}]
    recipe = build(Recipe, config_of({"stages": stages}, ["stages.a.algorithm.clip_low=0.1"]))
    assert recipe.stages[0].algorithm == Clip(clip_low=0.1)
    with pytest.raises(ConfigError, match=r"klip_low=0\.1: unknown key\. Did you mean clip_low\?"):
        build(Recipe, config_of({"stages": stages}, ["stages.a.algorithm.klip_low=0.1"]))
    with pytest.raises(ConfigError, match=r"note: got .*; expected text"):
        build(Recipe, config_of({"note": "x"}, ["note.y=1"]))


def test_faults_of_overrides_name_the_override(page: Path) -> None:
    with pytest.raises(ConfigError) as error:
        load_config(page, ["stages.gpro.lr=1", "seed", "seed.x=1", "stages.9.lr=1", "note=[", "=1"])
    assert str(error.value).splitlines() == [
        'override stages.gpro.lr=1: stages has no item "gpro". Did you mean grpo? (sft, grpo). '
        "Name one of these",
        "override seed: is no override; expected key.key=value. Write it as stages.grpo.lr=5e-5",
        "override seed.x=1: seed is 1, which has no key x. Name a key that holds others",
        'override stages.9.lr=1: stages has no item "9" (see the names above). Name one of these',
        "override note=[: broken YAML: expected the node content, but found '<stream end>'. "
        "Fix the value",
        "override =1: is no override; expected key.key=value. Write it as stages.grpo.lr=5e-5",
    ]
    assert faults(page, "seed=x", "stages.sft.lrr=1") == [
        'override seed=x: got "x"; expected a whole number',
        "override stages.sft.lrr=1: unknown key. Did you mean lr? "
        "(name, from, algorithm, data, lr, schedule)",
    ]


texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=12)
words = st.from_regex(r"[a-z][a-z0-9_]{0,6}", fullmatch=True)
finite = st.floats(allow_nan=False, allow_infinity=False)
tricky = st.sampled_from(
    ["1e-3", "on", "no", "010", "null", "~", "true", "- a", "a: b", "#", "=", "0x1"]
)
scalars = st.none() | st.booleans() | st.integers() | finite | texts | tricky
values = st.recursive(
    scalars, lambda v: st.lists(v, max_size=3) | st.dictionaries(texts, v, max_size=3), max_leaves=6
)
stages = st.builds(
    Stage,
    name=words,
    **{"from": texts | tricky},
    algorithm=st.none() | st.builds(Clip, group_size=st.integers(), clip_low=finite),
    data=st.lists(st.builds(Source, path=texts, weight=st.floats(1e-9, 1e9)) | texts | tricky).map(
        tuple
    ),
    lr=finite,
)
recipes = st.builds(
    Recipe,
    seed=st.integers(),
    note=texts | tricky,
    keep=st.booleans(),
    stages=st.lists(stages, max_size=3).map(tuple),
    params=st.dictionaries(texts, values, max_size=3),
)


@settings(max_examples=60, deadline=None)
@given(recipes)
def test_a_dumped_recipe_reads_back_equal(recipe: Recipe) -> None:
    text = dump(recipe)
    assert build(Recipe, ConfigFile(Path(), parse_yaml(text, "page"))) == recipe


@settings(max_examples=60, deadline=None)
@given(st.lists(words, min_size=1, max_size=4), scalars)
def test_an_override_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str], value: Any
) -> None:
    path = tmp_path_factory.getbasetemp() / "empty.yaml"
    path.write_text("")
    key = ".".join(steps)
    given = dump({"v": value}).removeprefix("v:").strip()
    page = load_config(path, [f"{key}={given}"])
    assert page.section(key).plain() == value
    assert page.section(key).where == f"override {key}={given}"


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=60), st.text(max_size=20))
def test_any_text_is_a_page_or_a_config_error(
    tmp_path_factory: pytest.TempPathFactory, text: str, override: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    for overrides in ([], [override], [f"a.b={override}"]):
        with contextlib.suppress(ConfigError):
            build(Recipe, load_config(path, overrides))


def test_an_absent_component_is_left_out_of_the_dump() -> None:
    assert "algorithm" not in dump(Stage(name="a"))


def test_the_page_of_a_program_is_built_like_a_file() -> None:
    page = config_of({"seed": 1, "stages": [{"name": "a", "algorithm": Clip()}]}, ["stages.a.lr=1"])
    assert build(Recipe, page).stages[0] == Stage(name="a", algorithm=Clip(), lr=1.0)
    with pytest.raises(ConfigError, match=r'command line seed: got "x"'):
        build(Recipe, config_of({"seed": "x"}))


def test_the_dump_is_read_alike_by_other_readers() -> None:
    recipe = Recipe(note="on", params={"a": "1e-3", "b": 1e-5, "c": "010"})
    read = yaml.safe_load(dump(recipe))
    assert (read["note"], read["params"]) == ("on", {"a": "1e-3", "b": 1e-5, "c": "010"})
