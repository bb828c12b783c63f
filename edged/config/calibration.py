"""`[inspection.calibration]`: what a pixel is in mm, as `edged calibrate` writes it."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Number = Annotated[float, Field(ge=-1e9, le=1e9, allow_inf_nan=False)]
Row = tuple[Number, Number, Number]


class CalibrationConfig(BaseModel):
    """What a pixel is in mm on the plane where parts are measured; `edged calibrate` writes it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: tuple[Annotated[int, Field(ge=1, le=16_384)], Annotated[int, Field(ge=1, le=16_384)]] = Field(
        description="width and height of the pictures it was made from; frames of another size are not measured"
    )
    camera_matrix: tuple[Row, Row, Row] = Field(description="OpenCV's camera matrix, pixels")
    distortion: Annotated[tuple[Number, ...], Field(min_length=5, max_length=8)] = Field(
        description="OpenCV's k1, k2, p1, p2, k3 and, where there are, k4, k5, k6"
    )
    homography: tuple[Row, Row, Row] = Field(
        description="from undistorted image coordinates (x/z, y/z) to mm on the board"
    )
    plane_mm: Number = Field(
        default=0.0, description="how far above the board the plane of the parts lies, towards the camera, mm"
    )
    error_mm: float = Field(
        default=0.0, ge=0, le=1e6, description="rms distance of the board's corners from where they belong, mm"
    )
