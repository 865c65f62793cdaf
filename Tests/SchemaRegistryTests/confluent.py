"""Frames by the serializers of PyPI's `confluent-kafka[avro,protobuf]` (with `grpcio-tools`), and the registry that they
have registered their schemas with: a stand-in of its REST API, which goes on until this process ends.

    confluent.py FOLDER

FOLDER has `order.proto` and `money.proto`. The first line of the output is the address of the registry. Each further
line has an encoding and a frame in hexadecimal digits.
"""
import http.server
import json
import os
import subprocess
import sys
import threading
import urllib.parse


class Registry:
    """Schemas by id; versions by subject. Answers as Confluent's schema registry 7 does."""

    def __init__(self):
        self.schemas, self.subjects = [], {}

    def register(self, subject, schema):
        schema = {key: schema[key] for key in ("schema", "schemaType", "references") if schema.get(key)}
        if schema not in self.schemas:
            self.schemas.append(schema)
        number = 100000 + self.schemas.index(schema)
        versions = self.subjects.setdefault(subject, [])
        if number not in versions:
            versions.append(number)
        return self.answer(subject, number)

    def answer(self, subject, number):
        version = self.subjects[subject].index(number) + 1
        return {"subject": subject, "id": number, "version": version, **self.schemas[number - 100000]}

    def get(self, path):
        parts = [urllib.parse.unquote(part) for part in path.split("/")[1:]]
        if parts[:2] == ["schemas", "ids"] and len(parts) == 3:
            number = int(parts[2]) - 100000
            return self.schemas[number] if 0 <= number < len(self.schemas) else None
        if parts[0] == "subjects" and parts[2] == "versions":
            versions = self.subjects.get(parts[1], [])
            version = len(versions) if parts[3] == "latest" else int(parts[3])
            return self.answer(parts[1], versions[version - 1]) if 0 < version <= len(versions) else None
        return None


registry = Registry()


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *arguments):
        pass

    def reply(self, answer):
        body = json.dumps(answer or {"error_code": 40403, "message": "Schema not found"}).encode()
        self.send_response(200 if answer else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.reply(registry.get(self.path.split("?")[0]))

    def do_POST(self):
        schema = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        parts = [urllib.parse.unquote(part) for part in self.path.split("?")[0].split("/")[1:]]
        self.reply(registry.register(parts[1], schema) if parts[0] == "subjects" else None)


def main():
    folder = sys.argv[1]
    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}"
    subprocess.run(
        [sys.executable, "-m", "grpc_tools.protoc", "-I.", "--python_out=.", "order.proto", "money.proto"],
        cwd=folder, check=True)
    sys.path.insert(0, folder)
    import order_pb2
    from confluent_kafka.schema_registry import SchemaRegistryClient
    from confluent_kafka.schema_registry.protobuf import ProtobufSerializer
    from confluent_kafka.serialization import MessageField, SerializationContext

    order = order_pb2.Envelope.Order(
        id="0f8fad5b", kind=2, rate=19.99, done=True, note=b"x", codes=[7, 300, -1])
    order.placed_at.FromJsonString("2024-02-29T12:00:00.5Z")
    order.user.no, order.user.parent.no = -41, 7
    order.total.value.cents, order.total.value.currency = 3998, "EUR"
    order.lines.add(sku=300, price=2.5).count.value = 2
    order.lines.add(sku=301, price=4.0)
    order.tags["currency"], order.tags["empty"] = "EUR", ""
    order.params.update({"visit": 7, "group": "shoes", "deep": {"a": [1, None, "z"]}, "on": True})
    serializer = ProtobufSerializer(
        order_pb2.Envelope.Order, SchemaRegistryClient({"url": url}), {"use.deprecated.format": False})
    frame = serializer(order, SerializationContext("orders", MessageField.VALUE))
    print(url)
    print("protobuf", frame.hex(), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
