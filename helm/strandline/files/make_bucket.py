"""Make the bucket, and a user who may write to it and read from all others.

Run by the chart's Job with the administrator's keys, so that no job has to have them. May be
run any number of times; the user's key becomes the one that the Secret holds.
"""

from __future__ import annotations

import json
import os
import sys
import time

import urllib3
from minio import Minio, MinioAdmin
from minio.credentials import StaticProvider
from minio.error import MinioAdminException, S3Error

POLICY = "strandline"
PATIENCE_SECONDS = 300.0
READ = ("s3:GetBucketLocation", "s3:GetObject", "s3:ListBucket")
WRITE = (
    "s3:AbortMultipartUpload",
    "s3:DeleteObject",
    "s3:ListBucketMultipartUploads",
    "s3:ListMultipartUploadParts",
    "s3:PutObject",
)


def policy(bucket: str) -> dict[str, object]:
    """Return what the user may do."""
    own = [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]
    return {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": READ, "Resource": ["arn:aws:s3:::*"]},
            {"Effect": "Allow", "Action": WRITE, "Resource": own},
        ],
    }


def wait_for(server: str) -> None:
    """Return when the server answers.

    Raises:
        TimeoutError: it does not, for minutes.
    """
    http = urllib3.PoolManager(timeout=5.0, retries=False)
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until:
        try:
            if http.request("GET", f"http://{server}/minio/health/ready").status == 200:
                return
        except urllib3.exceptions.HTTPError as error:
            print(f"waiting for {server}: {error}", file=sys.stderr)
        time.sleep(2.0)
    raise TimeoutError(f"no answer from http://{server} for {PATIENCE_SECONDS:.0f} s")


def make_bucket(client: Minio, bucket: str) -> None:
    """Make the bucket unless it is there."""
    try:
        client.make_bucket(bucket)
    except S3Error as error:
        if error.code not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
            raise


def make_user(admin: MinioAdmin, name: str, key: str, bucket: str) -> None:
    """Make the user, or give the one that is there this key and these rights."""
    admin.policy_add(POLICY, policy=policy(bucket))
    admin.user_add(name, key)
    if POLICY in (json.loads(admin.user_info(name)).get("policyName") or "").split(","):
        return
    try:
        admin.attach_policy([POLICY], user=name)
    except MinioAdminException as error:
        if "already" not in str(error):
            raise


def main() -> None:
    """Read everything from the environment."""
    env = os.environ
    server, bucket = env["MINIO_SERVER"], env["MINIO_BUCKET"]
    root, password = env["MINIO_ROOT_USER"], env["MINIO_ROOT_PASSWORD"]
    wait_for(server)
    make_bucket(
        Minio(server, access_key=root, secret_key=password, region="us-east-1", secure=False),
        bucket,
    )
    name = env["STRANDLINE_S3_ACCESS_KEY"]
    if name != root:
        admin = MinioAdmin(
            endpoint=server, credentials=StaticProvider(root, password), secure=False
        )
        make_user(admin, name, env["STRANDLINE_S3_SECRET_KEY"], bucket)
    print(f"bucket {bucket} is there, user {name} may write to it")


if __name__ == "__main__":
    main()
