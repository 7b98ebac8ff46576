"""The load test: many clients on a server of its own get their own pictures, and what is wrong is counted."""

import httpx
import pytest
from gradio_client.exceptions import AppError

from cnxs import load_test, text


def test_four_clients_on_two_devices_get_their_own_pictures(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["--clients", "4", "--minutes", "0.1", "--seeds", "2", "--threads", "1", "--device", "cpu,cpu"]
    with pytest.raises(SystemExit) as ended:
        load_test.main(asked)
    told = capsys.readouterr().out
    assert ended.value.code == 0, told
    assert int(told.split(" ")[0]) > 0
    assert "0 wrong results\n0 errors without a sentence" in told
    assert "not measured" in told


def test_a_refusal_with_a_sentence_is_no_error() -> None:
    tally = load_test.Tally()
    tally.error("generate", AppError(text.get("error.too_fast", maximum=1, seconds=3)))
    tally.error("generate", AppError(""))
    tally.error("generate", AppError("The upstream Gradio app has raised an exception."))
    tally.error("generate", AppError(text.get("page.unexpected")))
    tally.error("generate", httpx.ReadTimeout("too slow."))
    tally.compare(("generate", 3), "one", "other")
    tally.compare(("generate", 3), "one", "one")
    assert dict(tally.refused) == {"generate": 1}
    assert len(tally.unexplained) == 4
    assert tally.wrong == ["generate, seed 3"]
    assert "2 requests done (generate 2)\n1 wrong results\ngenerate, seed 3\n4 errors" in load_test.report(tally, [])


def test_memory_is_compared_after_the_first_minute() -> None:
    assert load_test.growth([1.0] * 80) is None
    assert load_test.growth([1.0] * 60 + [100.0] * 30) == 0
    assert load_test.growth([1.0] * 60 + [100.0] * 60 + [110.0] * 20) == pytest.approx(0.1)
