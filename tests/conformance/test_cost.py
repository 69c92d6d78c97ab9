"""What a turn costs on a server: two round trips and few bytes, as the server itself counts them."""

import redis

from luni import operations as ops
from luni.testing.conformance.store import inner

TURNS = 40
MOST_BYTES = 3_500


def messages_in(operation, result):
    """The bytes of stored messages on their way: bodies in the command, items in the reply."""
    drafts = [operation.draft] if isinstance(operation, ops.Open) else list(getattr(operation, "drafts", ()))
    view = getattr(result, "view", None)
    return sum(len(d.body) for d in drafts if d) + sum(map(len, (*view.window, *view.waiting)) if view else ())


def talk(session, first):
    for number in range(first, first + TURNS):
        with session.turn(f"Queria marcar para sexta às {number}h", message_id=f"SM{number}") as turn:
            while turn.should_reply:
                assert turn.context.messages
                turn.reply(f"Marcado para sexta às {number}h.")


def test_a_turn_is_two_commands(server_store):
    session = server_store.session()
    talk(session, 0)  # the session is met, the window is full
    with redis.Redis.from_url(server_store.url()).monitor() as monitor:
        talk(session, TURNS)
        server_store.raw.echo("the end")
        seen = []
        for command in monitor.listen():
            if "the end" in command["command"]:
                break
            seen.append(command)
    sent = [c["command"].split()[0] for c in seen if c["client_type"] != "lua" and server_store.namespace in c["command"]]
    assert sent == ["EVALSHA"] * 2 * TURNS


def test_a_turn_moves_few_bytes_besides_its_messages(server_store):
    server_store.namespace = "luni"  # as long as a deployed one
    memory = server_store.open()
    session = memory.session(tenant="barbearia", channel="whatsapp", user="5547999990000")
    talk(session, 0)
    carried = []
    count_messages(inner(memory), carried)
    asking = -moved(server_store) + moved(server_store)
    before = moved(server_store)
    talk(session, TURNS)
    besides = moved(server_store) - before - asking - sum(carried)
    assert len(carried) == 2 * TURNS
    assert 1_000 < besides / TURNS <= MOST_BYTES, besides / TURNS


def moved(store):
    stats = store.raw.info("stats")
    return stats["total_net_input_bytes"] + stats["total_net_output_bytes"]


def count_messages(memory, carried):
    execute = memory._execute

    def counting(operation):
        result = execute(operation)
        if hasattr(result, "add_done_callback"):
            result.add_done_callback(lambda done: carried.append(messages_in(operation, done.result())))
        else:
            carried.append(messages_in(operation, result))
        return result

    memory._execute = counting
