"""Errors that are not ours, as problems."""

import errno
import os
from pathlib import Path

import pytest

from aft_worker.durable import write_durably
from aft_worker.problems import problem_of
from tests.worker.conftest import largest_file


def test_a_full_disk_is_said_in_words(tmp_path: Path) -> None:
    with largest_file(0), pytest.raises(OSError, match="too large") as caught:
        write_durably(tmp_path / "job.json", b"{}")
    problem = problem_of(caught.value)
    assert (problem.status, problem.code) == (507, "storage_failed")
    assert "Make room" in problem.detail


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS])
def test_storage_that_fails_otherwise_is_said_likewise(number: int) -> None:
    assert problem_of(OSError(number, os.strerror(number))).code == "storage_failed"


def test_other_errors_are_faults_of_ours() -> None:
    assert {problem_of(error).code for error in (OSError(errno.ECONNRESET, "x"), KeyError("x"))} == {"internal_error"}
