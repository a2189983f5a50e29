"""The outcome of a request, read from its answer."""

import json
from typing import NamedTuple

from spammer.tally import GOOD_ENDS


class Answer(NamedTuple):
    status: int
    text: str


def problem(answer: Answer) -> tuple[str, str]:
    """The code and the detail of a problem document. Of any other answer, the status and the beginning.

    If items of a request are rejected for terms and nothing else, the code is theirs.
    """
    try:
        document = json.loads(answer.text)
        codes = [item["code"] for item in document.get("items", ())]
        if codes and GOOD_ENDS.issuperset(codes):
            return str(codes[0]), str(document["detail"])
        if isinstance(document["code"], str):
            return document["code"], str(document["detail"])
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    return f"status_{answer.status}", answer.text[:200]
