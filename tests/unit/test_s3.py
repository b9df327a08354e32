"""Signatures, as Amazon publishes them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from llmops.s3 import Keys, right_region, signed

EXAMPLE = Keys("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
PUBLISHED = {
    "lifecycle=": "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
    "max-keys=2&prefix=J": "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
}


@pytest.mark.parametrize("query", PUBLISHED)
def test_requests_are_signed_as_in_amazons_documentation(query: str) -> None:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html, "Examples"."""
    address = f"https://examplebucket.s3.amazonaws.com/?{query}"
    headers = signed(address, "us-east-1", EXAMPLE, datetime(2013, 5, 24, tzinfo=UTC))
    assert headers["Authorization"] == (
        "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,"
        f"SignedHeaders=host;x-amz-content-sha256;x-amz-date,Signature={PUBLISHED[query]}"
    )


@pytest.mark.parametrize(
    ("status", "told", "header", "right"),
    [
        (400, "<Error><Region>eu-central-1</Region></Error>", None, "eu-central-1"),
        (301, "", "eu-west-2", "eu-west-2"),
        (400, "<Error><Region>us-east-1</Region></Error>", None, None),
        (403, "<Error><Region>eu-central-1</Region></Error>", None, None),
    ],
)
def test_a_store_of_another_region_says_which(status: int, told: str, header: str | None, right: str | None) -> None:
    assert right_region(status, told, header, "us-east-1") == right
