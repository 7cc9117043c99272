"""An object down and up again, as the documentation of obstore copies one."""

import sys
from datetime import timedelta

import obstore

source, output = (url.removeprefix("s3://").split("/", 1) for url in sys.argv[1:])
store = obstore.store.from_url(
    f"s3://{source[0]}", client_options={"allow_http": True, "timeout": timedelta(minutes=10)}
)
obstore.put(store, output[1], obstore.get(store, source[1]))
