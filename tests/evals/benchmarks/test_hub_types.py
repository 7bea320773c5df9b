"""Small sets in exactly the hub's columns, types and folder layout, read by the real loader."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from evals.registry import get_benchmark
from evals.sandbox.runner import why_not
from tests.evals.benchmarks.test_benchmarks import example_rows

TEXT, WHOLE, REAL = pa.string(), pa.int64(), pa.float64()
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
LIST = pa.list_(TEXT)


def columns(names: str, kind: pa.DataType = TEXT) -> list[tuple[str, pa.DataType]]:
    return [(name, kind) for name in names.split()]


# benchmark -> (folder of the configuration, file name of the split, columns)
HUB = {
    "mmmu": (
        "Accounting",
        "validation-00000-of-00001.parquet",
        [
            *columns("id question options explanation"),
            *((f"image_{number}", IMAGE) for number in range(1, 8)),
            *columns("img_type answer topic_difficulty question_type subfield"),
        ],
    ),
    "mmbench": (
        "en",
        "dev-00000-of-00001.parquet",
        [
            ("index", WHOLE),
            *columns("question hint answer A B C D category"),
            ("image", IMAGE),
            *columns("source L2-category comment split"),
        ],
    ),
    "mmstar": (
        "",
        "mmstar/val.parquet",
        [
            ("index", WHOLE),
            ("question", TEXT),
            ("image", pa.binary()),
            *columns("answer category l2_category"),
            ("meta_info", pa.struct(columns("source split image_path"))),
        ],
    ),
    "ai2d": (
        "data",
        "test-00000-of-00001.parquet",
        [("question", TEXT), ("options", LIST), ("answer", TEXT), ("image", IMAGE)],
    ),
    "scienceqa": (
        "ScienceQA-IMG",
        "test-00000-of-00001-f0e719df791966ff.parquet",
        [
            ("image", IMAGE),
            ("question", TEXT),
            ("choices", LIST),
            ("answer", pa.int8()),
            *columns("hint task grade subject topic category skill lecture solution"),
        ],
    ),
    "seedbench": (
        "data",
        "test-00000-of-00041.parquet",
        [
            *columns("answer choice_a choice_b choice_c choice_d data_id data_type question"),
            ("question_id", TEXT),
            ("question_type_id", pa.int16()),
            ("image", pa.list_(IMAGE)),
            ("segment", pa.list_(WHOLE)),
        ],
    ),
    "hallusionbench": (
        "data",
        "image-00000-of-00001.parquet",
        [
            *columns("category subcategory visual_input set_id figure_id sample_note question_id"),
            *columns("question gt_answer_details gt_answer filename"),
            ("image", IMAGE),
        ],
    ),
    "gsm8k": ("main", "test-00000-of-00001.parquet", columns("question answer")),
    "mmlu": (
        "all",
        "test-00000-of-00001.parquet",
        [*columns("question subject"), ("choices", LIST), ("answer", WHOLE)],
    ),
    "ceval": (
        "accountant",
        "val-00000-of-00001.parquet",
        [("id", pa.int32()), *columns("question A B C D answer explanation")],
    ),
    "ifeval": (
        "",
        "data/train-00000-of-00001.parquet",
        [
            ("key", WHOLE),
            ("prompt", TEXT),
            ("instruction_id_list", LIST),
            (
                "kwargs",
                pa.list_(
                    pa.struct(
                        [
                            *columns("num_highlights num_words num_sentences", WHOLE),
                            *columns("relation keyword end_phrase"),
                            ("keywords", LIST),
                        ]
                    )
                ),
            ),
        ],
    ),
    "mathvista": (
        "data",
        "testmini-00000-of-00001-725687bf7a18d64b.parquet",
        [
            *columns("pid question image"),
            ("decoded_image", IMAGE),
            ("choices", LIST),
            ("unit", TEXT),
            ("precision", REAL),
            *columns("answer question_type answer_type"),
            (
                "metadata",
                pa.struct(
                    [
                        *columns("category context grade"),
                        *columns("img_height img_width", WHOLE),
                        ("language", TEXT),
                        ("skills", LIST),
                        *columns("source split task"),
                    ]
                ),
            ),
            ("query", TEXT),
        ],
    ),
    "mmvet": (
        "data",
        "test-00000-of-00001.parquet",
        [
            ("question_id", TEXT),
            ("image", IMAGE),
            *columns("question answer image_source capability"),
        ],
    ),
    "humaneval": (
        "openai_humaneval",
        "test-00000-of-00001.parquet",
        columns("task_id prompt canonical_solution test entry_point"),
    ),
}


def typed(name: str, num_images: int) -> pa.Table:
    """The benchmark's worked rows for so many images, in the hub's columns and types."""
    fields = HUB[name][2]
    rows = example_rows(name, num_images)
    for row in rows:
        for column, kind in fields:
            if pa.types.is_list(kind) and kind.value_type == IMAGE:
                row[column] = [row[column]]
            if column == "image" and kind == pa.binary():
                row[column] = row[column]["bytes"]
    return pa.Table.from_pylist(rows, schema=pa.schema(fields))


def write(folder, name: str, num_images: int = 3):
    config, file, fields = HUB[name]
    path = folder / config / file
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(typed(name, num_images), path)
    assert pq.read_schema(path).names == [column for column, _ in fields]
    return path


@pytest.mark.parametrize("name", HUB)
def test_the_loader_reads_the_hubs_own_schema(name, tmp_path):
    if name == "humaneval" and (problem := why_not()):
        pytest.skip(f"no sandbox: {problem}")
    benchmark = get_benchmark(name)
    path = write(tmp_path, name)
    of_folder = benchmark.load(tmp_path)
    assert len(of_folder) == 3 * len(benchmark.examples)
    assert benchmark.load(path)[0].sample.uid.startswith(name)
    for item in of_folder:
        assert not item.problem
        assert bool(item.sample.images) == bool(benchmark.image_columns)
        assert item.sample.messages[0].text


@pytest.mark.parametrize("name", ["gsm8k", "mmlu", "ceval"])
def test_examples_come_from_the_split_beside(name, tmp_path):
    benchmark = get_benchmark(name)
    test_file = write(tmp_path, name)
    bare = benchmark.load(tmp_path)
    assert {item.columns["num_shots"] for item in bare} == {0}
    config, _, fields = HUB[name]
    rows = [
        {**row, "question": f"worked {number}"} for number, row in enumerate(example_rows(name, 7))
    ]
    other = [{**row, "subject": "law", "question": "of another subject"} for row in rows[:1]]
    rows = other + rows if name == "mmlu" else rows
    shots = tmp_path / config / f"{benchmark.shot_split}-00000-of-00001.parquet"
    pq.write_table(pa.Table.from_pylist(rows, schema=pa.schema(fields)), shots)
    for place in (tmp_path, tmp_path / config, test_file):
        items = benchmark.load(place)
        assert len(items) == len(bare)
        assert {item.columns["num_shots"] for item in items} == {5}
        text = items[0].sample.messages[0].text
        assert [f"worked {n}" in text for n in range(7)] == [True] * 5 + [False] * 2
        assert "of another subject" not in text
        assert text.index("worked 4") < text.index(items[0].question)
    assert not benchmark.examples_by_subject  # loading leaves the benchmark as it was


def test_video_rows_of_seedbench_are_left_out(tmp_path):
    path = write(tmp_path, "seedbench")
    rows = pq.read_table(path).to_pylist()
    rows[1]["data_type"] = "video"
    rows[1]["image"] = rows[1]["image"] * 4
    pq.write_table(pa.Table.from_pylist(rows, schema=pa.schema(HUB["seedbench"][2])), path)
    items = get_benchmark("seedbench").load(tmp_path)
    assert [item.columns["data_type"] for item in items] == ["image", "image"]
    assert items[0].category == "Instances Counting"


def test_mmmu_of_many_configurations(tmp_path):
    first = write(tmp_path, "mmmu")
    rows = pq.read_table(first).to_pylist()
    for subject in ("Accounting", "Physics"):
        named = [{**row, "id": f"validation_{subject}_{n}"} for n, row in enumerate(rows)]
        file = tmp_path / subject / first.name
        file.parent.mkdir(exist_ok=True)
        pq.write_table(pa.Table.from_pylist(named, schema=pa.schema(HUB["mmmu"][2])), file)
    items = get_benchmark("mmmu").load(tmp_path)
    assert [item.category for item in items] == ["Accounting"] * 6 + ["Physics"] * 6
    assert items[0].columns["domain"] == "Business"
    assert items[-1].columns["domain"] == "Science"
