import pytest
from hypothesis import given
from hypothesis import strategies as st

from atat.grammar.spelling import left_sign, spell_out


@pytest.mark.supports(
    "Text",
    "numbers, times, years, signs and titles in figures",
    "spelled out as they are said",
)
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("50%", "fifty percent"),
        ("50 percent", "fifty percent"),
        ("50 %", "fifty percent"),
        ("0", "zero"),
        ("to 20 degrees", "to twenty degrees"),
        ("21\u00b0", "twenty one degrees"),
        ("180\u00b0C", "one hundred eighty degrees celsius"),
        (
            "-5 \u00b0C or 75 \u00b0 f",
            "minus five degrees celsius or seventy five degrees fahrenheit",
        ),
        ("twenty-one", "twenty one"),
        ("the twenty-first", "the twenty first"),
        ("9999", "nine thousand nine hundred ninety nine"),
        ("1,200 steps", "one thousand two hundred steps"),
        ("101 dalmatians", "one hundred one dalmatians"),
        ("3.14", "three point one four"),
        ("6 am", "six am"),
        ("6AM", "six am"),
        ("6 p.m.", "six pm"),
        ("8:30", "eight thirty"),
        ("8:30 pm", "eight thirty pm"),
        ("8:05am", "eight oh five am"),
        ("8:00", "eight o'clock"),
        ("8:00 am", "eight am"),
        ("20:00", "twenty hundred"),
        ("Dr. Brown and Mrs. Wu", "doctor Brown and missus Wu"),
        ("$5 or \u20ac1", "five dollars or one euro"),
        ("a $1,000 prize", "a one thousand dollars prize"),
        ("\u00a32.50", "two pounds fifty"),
        ("$3.00", "three dollars"),
        ("$2 million", "two million dollars"),
        ("$1.5", "one point five dollars"),
        ("salt & pepper", "salt and pepper"),
        ("in 1999", "in nineteen ninety nine"),
        ("since 2005", "since two thousand five"),
        ("May 4th, 2024", "May fourth, twenty twenty four"),
        ("1999 pieces", "one thousand nine hundred ninety nine pieces"),
        ("7, 8 and 9.", "seven, eight and nine."),
        ("1 2 3", "one two three"),
        ("to -5", "to minus five"),
        ("(\u22125 or \u2013 0.5)", "(minus five or minus zero point five)"),
        ("-$5, -21\u00b0", "minus five dollars, minus twenty one degrees"),
    ],
)
def test_numbers_times_signs_and_titles_are_written_as_they_are_said(text, said):
    assert spell_out(text) == said


@pytest.mark.parametrize(
    "text",
    [
        *("turn on the light", "i am here", "I'd like rock-n-roll", "R&B", "x-ray", "dr", "a-b"),
        *("12345", "007", "1.2.3", "25:00", "8:5", "b2b", "10-20", "caf\u00e9", "50percent", ""),
        *("$5k", "$slot", "$12345x", "room-5x", "a-5", "--", "- a"),
    ],
)
def test_what_is_not_known_stays_as_it_is(text):
    assert spell_out(text) == text


@given(
    st.text() | st.lists(st.sampled_from(list("019:.,% -apm&st\u00b0$\u2212\u2013"))).map("".join)
)
def test_any_text_is_spelled_once_and_for_all(text):
    once = spell_out(text)
    assert spell_out(once) == once


@pytest.mark.parametrize(
    ("text", "sign"),
    [
        *(
            ("1/2", "/"),
            ("<5", "<"),
            ("<= 5", "="),
            ("~ 5", "~"),
            ("5*6", "*"),
            ("\u20ac 5", "\u20ac"),
        ),
        *(
            ("10-20", "-"),
            ("10 am \u2013 12pm", None),
            ("10am\u20136pm", "\u2013"),
            ("7:30-8:30", "-"),
        ),
        *(
            ("10%-20%", "%"),
            ("5\u00b0C-9\u00b0C", "-"),
            ("\u20145", "\u2014"),
            ("10--5", "-"),
            ("\uff0d5", "\uff0d"),
            ("+5", "+"),
        ),
        *(
            ("5'6", "'"),
            ("<-5", "<"),
            ("5 & 6 + 7 @ 8", None),
            ("50% 10", None),
            ("5-minute", None),
        ),
        *(("light- 5", None), ("room-5", None), ("(5), '6' \"7\" #8: 9", None), ("-5", None)),
    ],
)
def test_a_sign_of_a_number_that_has_no_words_is_found(text, sign):
    assert left_sign(text) == sign
