import json
import logging

from shared import logs


def test_a_line_of_the_file_carries_the_message_the_service_and_what_was_added(tmp_path):
    handler = logs.also_to(tmp_path / "log.jsonl", service="trainer")
    logger = logging.getLogger("test")
    logger.setLevel(logging.INFO)
    try:
        logger.info("step %d", 5, extra={"run": "a"})
        try:
            raise ValueError("broken")
        except ValueError:
            logger.exception("it failed")
    finally:
        logging.getLogger().removeHandler(handler)
        handler.close()
    first, second = map(json.loads, (tmp_path / "log.jsonl").read_text().splitlines())
    assert (first["message"], first["service"], first["level"], first["run"]) == ("step 5", "trainer", "info", "a")
    assert "ValueError: broken" in second["traceback"]


def test_a_file_that_cannot_be_written_to_does_not_stop_the_service(tmp_path, capsys):
    (tmp_path / "file").touch()
    handler = logs.also_to(tmp_path / "file" / "log.jsonl", service="trainer")
    try:
        logging.getLogger("test").error("still here")
    finally:
        logging.getLogger().removeHandler(handler)
        handler.close()
    assert "NotADirectoryError" in capsys.readouterr().err
