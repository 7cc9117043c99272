"""An object down and up again, by a loop of obstore alone."""

import sys
from datetime import timedelta

import obstore

source, output = sys.argv[1:]
bucket, key = source.removeprefix("s3://").split("/", 1)
store = obstore.store.from_url(
    f"s3://{bucket}", client_options={"allow_http": True, "timeout": timedelta(minutes=10)}
)
with obstore.open_writer(store, output.removeprefix(f"s3://{bucket}/")) as writer:
    for part in obstore.get(store, key).stream(8 << 20):
        writer.write(part)
