"""Reading the events endpoint with the stock Event Hubs client."""

import threading

from azure.eventhub import EventHubConsumerClient


def consumer(ready, connection_string=None, **options):
    """A client for the built-in endpoint, trusting the hub's CA."""
    text = connection_string or ready["events_connection_string"]
    return EventHubConsumerClient.from_connection_string(text, "$Default", connection_verify=ready["ca_file"], **options)


def read(ready, enough, timeout=60, connection_string=None, started=None, client=None, **options):
    """Reads all partitions until `enough(events)` or the time is over; gives [(partition id, event)] in order of arrival.

    `options` go to the client's `receive_batch`; the start is the beginning of the stream unless they say otherwise.
    `started` is called once reading is under way; `client` are options of the client itself.
    """
    got, errors, done = [], [], threading.Event()

    def on_batch(partition, batch):
        got.extend((partition.partition_id, event) for event in batch)
        if enough(got):
            done.set()

    def on_error(_partition, error):
        errors.append(error)
        done.set()

    options.setdefault("starting_position", "-1")
    client = consumer(ready, connection_string, **(client or {}))
    thread = threading.Thread(
        target=client.receive_batch,
        args=(on_batch,),
        kwargs={"on_error": on_error, "max_wait_time": 0.5, **options},
        daemon=True,
    )
    thread.start()
    try:
        if started:
            started()
        done.wait(timeout)
    finally:
        client.close()
        thread.join(30)
    if errors:
        raise errors[0]
    return got


def of_device(events, device):
    """Only what one device has sent, in order."""
    return [event for _, event in events if event.system_properties[b"iothub-connection-device-id"] == device.encode()]
