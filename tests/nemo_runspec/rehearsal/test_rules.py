from __future__ import annotations

from nemo_runspec.rehearsal.rules import Issues


def test_values_of_the_right_kind_pass() -> None:
    issues = Issues()
    body = {"text": "t", "whole": 3, "flag": False, "table": {"a": 1}, "rows": [{"b": 2}], "texts": ["x"]}
    assert issues.text(body, "text", "text", required=True) == "t"
    assert issues.whole(body, "whole", "whole", least=3) == 3
    assert issues.flag(body, "flag", "flag") is False
    assert issues.table(body, "table", "table", required=True) == {"a": 1}
    assert issues.rows(body, "rows", "rows") == [{"b": 2}]
    assert issues.texts(body, "texts", "texts") == ["x"]
    issues.unknown(body, body, "")
    issues.extend("text", [])
    assert issues.found == {}


def test_everything_that_is_wrong_is_told_once() -> None:
    issues = Issues()
    body = {"text": "a\0b", "whole": True, "small": 0, "flag": 1, "table": [], "rows": [{}, 1], "texts": ["x", 1]}
    assert issues.text(body, "text", "text") == ""
    assert issues.whole(body, "whole", "whole", least=0, default=4) == 4
    assert issues.whole(body, "small", "small", least=1) == 0
    assert issues.flag(body, "flag", "flag") is False
    assert issues.table(body, "table", "table") == {}
    assert issues.rows(body, "rows", "rows") == [{}]
    assert issues.rows(body, "flag", "no rows") == []
    assert issues.texts(body, "texts", "texts") == []
    assert issues.table(body, "missing", "missing", required=True) == {}
    issues.unknown({"x": 1}, {"y"}, "table")
    issues.extend("text", ["more"])
    assert issues.found == {
        "text": "must be a text that is not empty",
        "whole": "must be a whole number",
        "small": "value must be no less than 1",
        "flag": "must be true or false",
        "table": "must be an object",
        "rows[1]": "must be an object",
        "no rows": "must be a list",
        "texts": "must be a list of texts",
        "missing": "must be an object",
        "table.x": "is not a field of this object",
    }


def test_what_is_missing_is_fine_unless_it_is_needed() -> None:
    issues = Issues()
    assert issues.text({}, "a", "a") == ""
    assert issues.whole({}, "a", "a", least=1, default=7) == 7
    assert issues.rows({}, "a", "a") == []
    assert issues.texts({}, "a", "a") == []
    assert issues.found == {}
