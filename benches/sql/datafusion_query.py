"""The reset query over a finished file in DataFusion: datafusion_query.py FILE. One partition, on the core it is pinned to."""

import sys
import time

import pyarrow
from datafusion import SessionConfig, SessionContext

SCHEMA = pyarrow.schema([
    ("machine", pyarrow.struct([("temperature", pyarrow.float64()), ("pressure", pyarrow.float64())])),
    ("timeCreated", pyarrow.string()),
])
QUERY = """SELECT 'reset' FROM temperature
GROUP BY date_bin(INTERVAL '30 seconds', CAST("timeCreated" AS TIMESTAMP))
HAVING AVG(machine['temperature']) > 25"""

context = SessionContext(SessionConfig().with_target_partitions(1))
context.register_json("temperature", sys.argv[1], schema=SCHEMA, file_extension=".json")
begin = time.monotonic()
rows = sum(batch.num_rows for batch in context.sql(QUERY).collect())
print(f"rows {rows} seconds {time.monotonic() - begin:.3f}")
