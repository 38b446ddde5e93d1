"""A small workflow whose items end up everywhere: completed, skipped, failed, waiting for a person."""

from __future__ import annotations

from dataclasses import dataclass

from treadle import Accepted, ReviewPolicy, Skipped, StageOutput, Uncertain, Workflow


@dataclass
class Letter:
    id: str
    text: str


@dataclass
class Summary:
    title: str
    words: int
    urgent: bool = False


letters = Workflow("letters", item=Letter)


@letters.stage
def read(letter: Letter) -> str:
    if "unreadable" in letter.text:
        raise ValueError(f"cannot read {letter.id}: {letter.text}")
    return letter.text.strip()


def is_sure(letter: Letter, output: StageOutput, ctx: object) -> Accepted | Uncertain:
    return Uncertain(f"is {letter.id} urgent?") if "?" in letter.text else Accepted()


@letters.stage(gate=is_sure, review=ReviewPolicy.ON_UNCERTAIN)
def summary(letter: Letter, read: str) -> Summary:
    return Summary(read.partition(" ")[0], len(read.split()))


@letters.stage
def translate(letter: Letter, read: str) -> str | Skipped:
    return read.upper() if "please" in read else Skipped("nobody asked for it")


@letters.stage(after=["translate"])
def send(letter: Letter, summary: Summary) -> str:
    return f"{summary.title} ({summary.words} words)"


SAMPLE = [
    Letter("done-1", "Dear all, please note the date"),
    Letter("done-2", "Dear all, that is it"),
    Letter("ask-1", "Urgent: can you come?"),
    Letter("ask-2", "Well, shall we?"),
    Letter("ask/3 ü", "Is this one odd?"),
    Letter("fail-1", "unreadable ink"),
]
