"""IFEval's checks, by hand, and the two approximations: sentences and languages."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewards.instructions import (
    CHECKS,
    count_capital_words,
    count_sentences,
    follow_all,
    follows,
    loose_versions,
)
from rewards.languages import language_of

CASES = [
    ("keywords:existence", {"keywords": ["cat", "Dog"]}, "A CAT, a dog", "a cat"),
    (
        "keywords:frequency",
        {"keyword": " cat ", "frequency": 2, "relation": "at least"},
        "cat Cat",
        "cat",
    ),
    ("keywords:forbidden_words", {"forbidden_words": ["cat"]}, "cats", "a Cat."),
    (
        "keywords:letter_frequency",
        {"letter": "A", "let_frequency": 2, "let_relation": "less than"},
        "a bc",
        "Aa",
    ),
    ("language:response_language", {"language": "de"}, "Das ist nicht gut", "This is not good"),
    (
        "length_constraints:number_sentences",
        {"num_sentences": 2, "relation": "at least"},
        "One. Two.",
        "Dr. One.",
    ),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "a\n***\nb", "a *** *** b"),
    (
        "length_constraints:number_words",
        {"num_words": 3, "relation": "less than"},
        "two words",
        "it's it",
    ),
    (
        "length_constraints:nth_paragraph_first_word",
        {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "Cat"},
        "a\n\n'Cat, b",
        "a\n\nb",
    ),
    ("detectable_content:number_placeholders", {"num_placeholders": 2}, "[a] [b]", "[a [b]"),
    ("detectable_content:postscript", {"postscript_marker": "P.S."}, "x\nP. S. y", "PS y"),
    ("detectable_format:number_bullet_lists", {"num_bullets": 2}, "\n * a\n- b", "* a\n** b"),
    ("detectable_format:constrained_response", {}, "My answer is no. x", "no"),
    ("detectable_format:number_highlighted_sections", {"num_highlights": 2}, "**a** *b*", "* *a"),
    (
        "detectable_format:multiple_sections",
        {"section_spliter": "Section", "num_sections": 2},
        "Section 1 a Section 2 b",
        "Section one Section 2",
    ),
    ("detectable_format:json_format", {}, '```json\n{"a": 1}\n```', "{a: 1}"),
    ("detectable_format:title", {}, "<<a title>>", "<< >>"),
    ("combination:two_responses", {}, "a ****** b", "a ****** a"),
    ("combination:repeat_prompt", {"prompt_to_repeat": "Say it"}, " say it: it", "it"),
    ("startend:end_checker", {"end_phrase": "The end."}, 'so "the END."', "The end. Or"),
    ("startend:quotation", {}, ' "a" ', '"'),
    (
        "change_case:capital_word_frequency",
        {"capital_frequency": 2, "capital_relation": "at least"},
        "NASA and U.S. here",
        "NASA and so on",
    ),
    ("change_case:english_capital", {}, "THIS IS IT", "THIS IS it"),
    ("change_case:english_lowercase", {}, "this is it", "dies ist es und nicht das"),
    ("punctuation:no_comma", {}, "a b", "a, b"),
]


def test_every_check_has_a_case():
    assert {case[0] for case in CASES} == set(CHECKS)


@pytest.mark.parametrize(("name", "arguments", "right", "wrong"), CASES)
def test_by_hand(name, arguments, right, wrong):
    padded = {
        **arguments,
        "num_sections_": None,
    }  # the hub's rows hold every key, most of them null
    assert follows(right, name, padded)
    assert not follows(wrong, name, padded)
    assert not follows(" \n", name, padded)


WRONG: dict[type, list] = {
    str: [5, 1.5, True, ["a"], [[]], {"a": 1}],
    int: ["x", True, [1], [[]], {"a": 1}],
    list: ["cat", 5, 1.5, True, [None], [0], [[]], [["a"]], {"a": 1}],
}


@pytest.mark.parametrize(
    ("name", "arguments", "key"), [(name, given, key) for name, given, *_ in CASES for key in given]
)
def test_arguments_of_wrong_types_are_refused(name, arguments, key):
    for value in WRONG[type(arguments[key])]:
        with pytest.raises(ValueError, match=rf"^instruction {name}: {key} is .*, not a "):
            follows("a text", name, {**arguments, key: value})


def test_a_pattern_that_is_too_large_is_refused():
    with pytest.raises(ValueError, match="keywords:existence: "):
        follows("a", "keywords:existence", {"keywords": ["a{99999999999}"]})


def test_loose_drops_lines_and_stars():
    text = "Sure:\n*a*\nBye"
    assert loose_versions(text)[:4] == [text, "*a*\nBye", "Sure:\n*a*", "*a*"]
    assert follow_all("Sure, here:\na b", ["punctuation:no_comma"], [{}]) == [False]
    assert follow_all("Sure, here:\na b", ["punctuation:no_comma"], [{}], is_loose=True) == [True]


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("keywords:nothing", {}, "unknown instruction"),
        ("length_constraints:number_words", {"num_words": 0}, "lacks"),
        ("keywords:existence", {"keywords": ["("]}, "keywords:existence"),
    ],
)
def test_a_row_without_its_arguments_is_an_error(name, arguments, message):
    with pytest.raises(ValueError, match=message):
        follows("text", name, arguments)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("Mr. A. Smith paid $3.50. He left!", 2),
        ('He said "Stop." Then he left', 2),
        ("It is e.g. this one... or that. End", 2),
        ("Really?! Yes", 2),
        ("no end", 1),
        ("", 0),
    ],
)
def test_sentences(text, count):
    assert count_sentences(text) == count


def test_capital_words():
    assert count_capital_words("DON'T STOP, IT'S I (NASA) well-KNOWN Iphone 42") == 7


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("La casa es muy grande y no está lejos de la ciudad", "es"),
        ("A casa não é muito grande e fica em uma rua", "pt"),
        ("La casa è molto grande e non è lontana della città", "it"),
        ("Das Haus ist nicht weit von der Stadt", "de"),
        ("Nyumba ni kubwa na iko katika mji wa watu", "sw"),
        ("Talo on suuri ja se ei ole kaukana", "fi"),
        ("Ngôi nhà của tôi là một ngôi nhà rất đẹp", "vi"),
        ("Dom jest duży i nie jest daleko od miasta", "pl"),
        ("Къщата е голяма и не е далеч от града", "bg"),
        ("Дім великий і не далеко від міста", "uk"),
        ("यह घर बहुत बड़ा है और शहर से दूर नहीं है", "hi"),
        ("हे घर खूप मोठे आहे आणि ते शहरात आहे", "mr"),
        ("यो घर ठूलो छ र यो शहर बाट टाढा छैन", "ne"),
        ("البيت كبير وهو في المدينة على النهر", "ar"),
        ("این خانه بزرگ است و در شهر از همه بهتر است", "fa"),
        ("یہ گھر بڑا ہے اور شہر سے دور نہیں ہے", "ur"),
        ("ఇల్లు పెద్దది", "te"),
        ("家は大きい", "ja"),
        ("房子很大", "zh"),
    ],
)
def test_languages(text, code):
    assert language_of(text) == code


@settings(max_examples=100, deadline=None)
@given(text=st.text() | st.text(alphabet="aA *[]<>\n.,\"'-#1{}"))
def test_no_text_raises(text):
    for name, arguments, _, _ in CASES:
        strict = follows(text, name, arguments)
        assert not strict or follows(text, name, arguments, is_loose=True)
