"""What predicting is told: a part of the gateway's settings, so each variable begins with TANDEM_PREDICT_."""

from pydantic import Field

from shared.settings import Settings


class PredictSettings(Settings):
    """The gateway's settings build on these."""

    predict_threads: int = Field(default=2, ge=1, le=256, description="for a single picture while nothing else waits")
    predict_workers: int = Field(default=2, ge=1, le=64, description="batches at once, each with one thread")
    predict_decoders: int = Field(default=2, ge=1, le=64, description="threads that decode large bodies")
    predict_max_batch: int = Field(default=64, ge=1, le=1024, description="the most pictures of one request")
    predict_together: int = Field(default=8, ge=1, le=1024, description="the most pictures of several requests at once")
    predict_max_waiting: int = Field(default=256, ge=1, le=100_000, description="the most pictures that wait")
    predict_max_loaded: int = Field(default=4, ge=1, le=1000, description="the most models in memory")
    predict_poll_seconds: float = Field(default=0.5, gt=0, le=60, description="between two looks at the volume")
    predict_body_bytes: int = Field(default=12 * 2**20, ge=1024, description="the longest body")
    predict_body_seconds: float = Field(default=10.0, gt=0, le=3600, description="for a body to arrive")
    predict_answer_seconds: float = Field(default=10.0, gt=0, le=3600, description="from the whole body to the answer")
    predict_image_bytes: int = Field(default=10 * 2**20, ge=1024, description="the longest picture")
    predict_image_pixels: int = Field(default=2**24, ge=1, le=2**26, description="the most pixels of a picture")
