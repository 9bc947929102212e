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


def test_a_log_does_not_grow_without_bound_and_its_newest_lines_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(logs, "FILE_BYTES", 1000)
    path = tmp_path / "log.jsonl"
    handler = logs.JsonLinesHandler(path, service="gateway")
    for number in range(200):
        handler.emit(logging.makeLogRecord({"msg": f"line {number}", "levelname": "INFO"}))
    handler.close()
    older = tmp_path / "log.jsonl.1"
    assert set(tmp_path.iterdir()) <= {path, older}
    text = "".join(file.read_text() for file in (older, path) if file.exists())
    kept = [json.loads(line)["message"] for line in text.splitlines()]
    assert kept == [f"line {number}" for number in range(200 - len(kept), 200)]
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) < 2200
