"""What another program, in another language, does with the keys it shares with luni: a bare client, nothing of luni's."""

import json
import time

METADATA = '{"focoAtual":null,"etapaFunil":"proposta","primeiraInteracao":false,"vazio":[],"longo":12345678901234567890}'
CONTEXT = '{"messages":[],"variables":{"cidade":"Joinville","lista":[]},"tags":[],"ultimaInteracaoTimestamp":NOW}'


def base(store, user="ana"):
    return f"{store.namespace}:sess:shop:web:{user}"


def ctx(store, user="ana"):
    return {name.decode(): value.decode() for name, value in store.raw.hgetall(f"{base(store, user)}:ctx").items()}


def msgs(store, user="ana"):
    return [json.loads(text) for text in store.raw.lrange(f"{base(store, user)}:msgs", 0, -1)]


def foreign_session(store, *texts, user="ana", now=None):
    """Begin a session as the deployed system does: a hash, a list with LPUSH, an index, an expiry."""
    now = int(time.time() * 1000) if now is None else now
    fields = {
        "sessionId": "0b5c8f6e-77aa-4a3e-8c3e-foreign", "clienteId": "shop", "createdAt": now, "lastActivity": now,
        "metadata": METADATA, "context": CONTEXT.replace("NOW", str(now)),
        "stats": '{"messageCount":2,"totalTime":0}', "summary": "Ana quer cortar o cabelo", "focus": "corte", "paused": "0",
        "token_est": "12", "updated_at": now,
    }  # fmt: skip
    store.raw.hset(f"{base(store, user)}:ctx", mapping=fields)
    for text in texts:
        foreign_message(store, text, user=user, now=now)
    for key in (f"{base(store, user)}:ctx", f"{base(store, user)}:msgs"):
        store.raw.pexpire(key, 3_600_000)
    store.raw.set(f"{store.namespace}:sess:id:{fields['sessionId']}", base(store, user), px=3_600_000)
    store.raw.set(f"{store.namespace}:client:shop", fields["sessionId"], px=3_600_000)
    return fields


def foreign_message(store, text, *, user="ana", now=1_700_000_000_000, **more):
    item = json.dumps({"text": text, "timestamp": now, "tags": ["whatsapp"], **more}, ensure_ascii=False)
    store.raw.lpush(f"{base(store, user)}:msgs", item)
    store.raw.ltrim(f"{base(store, user)}:msgs", 0, 19)
