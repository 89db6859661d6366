"""The reset query in Flink SQL, streaming, parallelism 1: flink_query.py FILE. The time is the job's own, without its start."""

import sys

from pyflink.table import EnvironmentSettings, TableEnvironment

environment = TableEnvironment.create(EnvironmentSettings.in_streaming_mode())
environment.get_config().set("parallelism.default", "1")
environment.execute_sql(f"""CREATE TABLE temperature (
  machine ROW<temperature DOUBLE, pressure DOUBLE>,
  timeCreated TIMESTAMP_LTZ(3),
  WATERMARK FOR timeCreated AS timeCreated - INTERVAL '5' SECOND
) WITH ('connector' = 'filesystem', 'path' = 'file://{sys.argv[1]}', 'format' = 'json',
        'json.timestamp-format.standard' = 'ISO-8601')""")
environment.execute_sql("CREATE TABLE alert (command STRING) WITH ('connector' = 'blackhole')")
result = environment.execute_sql("""INSERT INTO alert SELECT 'reset'
FROM TABLE(TUMBLE(TABLE temperature, DESCRIPTOR(timeCreated), INTERVAL '30' SECOND))
GROUP BY window_start, window_end HAVING AVG(machine.temperature) > 25""")
ended = result.get_job_client().get_job_execution_result().result()
print(f"seconds {ended.get_net_runtime() / 1000:.3f}")
