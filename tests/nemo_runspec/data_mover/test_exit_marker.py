from __future__ import annotations

import pytest

from nemo_runspec.data_mover import EXIT_MARKER, exit_code_of


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("[nemo-runspec] sft-worker-0 exit code 0", ("sft-worker-0", 0)),
        ("[nemo-runspec] sft-ab12-1-x exit code 137\r\n", ("sft-ab12-1-x", 137)),
        ("step 3: [nemo-runspec] sft exit code 1", None),
        ("[nemo-runspec] sft exit code 1 or so", None),
        ("[nemo-runspec] sft is not needed", None),
        ("", None),
    ],
)
def test_the_line_is_read(line: str, says: tuple[str, int] | None) -> None:
    assert exit_code_of(line) == says
    assert says is None or line.startswith(EXIT_MARKER)
