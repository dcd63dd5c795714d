from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nemo_runspec.platforms.slurm.values import (
    argument_problems,
    home_problems,
    line_problem,
    mount_problem,
    option_problems,
    sbatch_line,
    setup_problem,
    task_name_problem,
    variables_problems,
)

if TYPE_CHECKING:
    from nemo_runspec.platforms.slurm.job import Option


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ("research", "#SBATCH --account=research"),
        ("two words", '#SBATCH --account="two words"'),
        ('a "b" \\ $(c) # d', '#SBATCH --account="a \\"b\\" \\\\ $(c) # d"'),
        (8, "#SBATCH --account=8"),
        (True, "#SBATCH --account"),
    ],
)
def test_a_flag_as_sbatch_reads_it(value: str | int, line: str) -> None:
    assert sbatch_line("account", value) == line


@pytest.mark.parametrize("value", ["a\nb", "a\rb", "a\x00b", "tab\there", "a\u2028b", "", "  ", "x" * 4097, "\udc80"])
def test_what_is_no_line_of_a_script_is_refused(value: str) -> None:
    assert line_problem(value) is not None


def test_what_is_one_is_not() -> None:
    assert line_problem("$(touch x) `y` 'z' \"q\" \\ ; & | é 漢") is None


@pytest.mark.parametrize("home", ["jobs", "~/jobs", "/a:b", "/a\\b", "/a\nb", "", "/" + "x" * 4000])
def test_a_home_that_cannot_be(home: str) -> None:
    assert len(home_problems(home, mounted=False)) == 1


def test_a_home_with_anything_else_can_be_where_no_container_sees_it() -> None:
    home = "/lustre/a b/$x/'y'/\"z\"/nemo_run/100%j,é"
    assert home_problems(home, mounted=False) == []
    assert home_problems(home, mounted=True) == [
        f"'{home}' cannot be mounted into a container: ' ' would be read by a shell of pyxis or split there"
    ]


@pytest.mark.parametrize("mount", ["/a:/b", "/a-é:/b:ro", "/a'b:/c", "tmpfs:/x", "/a:/b:ro+x-create=dir"])
def test_a_mount_that_arrives_as_it_is(mount: str) -> None:
    assert mount_problem(mount) is None


@pytest.mark.parametrize(
    ("mount", "reason"),
    [
        ("/a", "is not SOURCE:TARGET"),
        ("/a:/b:ro:more", "a path cannot hold ':'"),
        ("/a,b:/c", "','"),
        ("/a b:/c", "' '"),
        ("/$(touch x):/c", "'$'"),
        ("/a:/`x`", "'`'"),
        ('/a":/c', "'\"'"),
        ("/a\\b:/c", "'\\'"),
        ("a:/c", "source must be an absolute path"),
        ("/a:c", "target must be an absolute path"),
        ("/a:/c:ro,rw", "options"),
        ("/a:/c\n", "line break"),
    ],
)
def test_a_mount_that_does_not(mount: str, reason: str) -> None:
    assert reason in str(mount_problem(mount))


@pytest.mark.parametrize(
    ("flag", "reason"),
    [
        ("job-name", "a job is found again by its name"),
        ("job", "it is short for job-name"),
        ("output", "where they are read"),
        ("array", "a job is one job"),
        ("J", "no long name"),
        ("wrap=x\n#SBATCH --uid", "no long name"),
        ("Upper", "no long name"),
        ("test-only", "no job would be submitted"),
    ],
)
def test_a_flag_that_is_not_the_users(flag: str, reason: str) -> None:
    ((told, why),) = option_problems([(flag, True)])
    assert told == flag
    assert reason in why


def test_any_other_flag_is_once() -> None:
    fine: list[Option] = [("mail-type", "FAIL"), ("comment", "mine"), ("switches", "1@10:00"), ("wait-all-nodes", 1)]
    assert list(option_problems(fine)) == []
    assert list(option_problems([*fine, ("comment", "x")])) == [("comment", "is set 2 times")]
    assert list(option_problems([("mail-user", "a\nb")])) != []


@pytest.mark.parametrize(
    "word", ["--mpi=pmix", "--export=ALL,FOO=b a r", "--nodelist=n1", "-l", "--container-name=x", "--mem-bind=q"]
)
def test_an_argument_of_srun(word: str) -> None:
    assert argument_problems([word]) == []


@pytest.mark.parametrize(
    "word",
    [
        *("touch", "--", "-", "=", "--output=x", "--outp=x", "-ox", "-o", "--container-mounts=/a:/b", "--pty"),
        *("--nodes=1", "-N1", "--ntasks=2", "-n2", "--ntasks-per-node=3", "--a\nb", ""),
    ],
)
def test_what_is_none(word: str) -> None:
    assert len(argument_problems([word])) == 1


def test_names_of_tasks_are_parts_of_file_names() -> None:
    assert task_name_problem("trainer_0-a") is None
    for name in ("", "-x", "a/b", "a b", "a.b", "$x", "x" * 64, "a\n"):
        assert task_name_problem(name) is not None


def test_lines_of_bash_are_the_users_own() -> None:
    assert setup_problem("module load cuda\nexport X='$(y)'") is None
    assert setup_problem("a\0b") is not None


@pytest.mark.parametrize(
    "name",
    ["SLURM_JOB_ID", "SLURMD_NODENAME", "NEMO_RUNSPEC_JOB_DIR", "MASTER_PORT", "UID", "BASH_ENV", "PS4", "IFS", "a-b"],
)
def test_a_variable_that_is_not_the_users(name: str) -> None:
    assert len(variables_problems([(name, "x")])) == 1
    assert len(variables_problems((), [name])) == 1


def test_values_have_the_kernels_limits() -> None:
    longest = 32 * 4096 - 1 - len("NAME=")
    assert variables_problems([("NAME", "x" * longest)]) == []
    (told,) = variables_problems([("NAME", "x" * (longest + 1))])
    assert told == "the variable 'NAME' has 131,067 bytes; Slurm takes 131,066"
    (told,) = variables_problems([(f"N{number}", "x" * 131_000) for number in range(20)])
    assert told.startswith("the variables have 2,620,")
    assert len(variables_problems([("NAME", "a\0b")])) == 1
