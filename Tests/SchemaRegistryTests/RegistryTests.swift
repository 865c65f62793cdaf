import EventInput
import Foundation
import SchemaRegistry
import Testing

/// A stand-in of the registry's REST API: answers by path, in a Python of its own.
final class StandIn {
    private let process = Process()
    let url: String

    /// - Parameter answers: status and body by path.
    init(_ answers: [String: (status: Int, body: String)]) throws {
        let list = answers.map { [$0, String($1.status), $1.body] }
        let json = String(decoding: try JSONEncoder().encode(list), as: UTF8.self)
        let program = """
            import http.server, json, sys, time
            answers = {path: (int(status), body) for path, status, body in json.loads(sys.argv[1])}
            class Handler(http.server.BaseHTTPRequestHandler):
                def log_message(self, *arguments): pass
                def do_GET(self):
                    status, body = answers.get(self.path, (404, '{"error_code": 40403, "message": "Schema not found"}'))
                    if body.startswith("SLOW"): time.sleep(2)
                    body = body.replace("AUTH", self.headers.get("Authorization", "none")).encode()
                    self.send_response(status)
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)
                    answers.pop(self.path, None)
            server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
            print(server.server_address[1], flush=True)
            server.serve_forever()
            """
        let output = Pipe()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = ["python3", "-c", program, json]
        process.standardOutput = output
        try process.run()
        var line = Data()
        while let byte = try output.fileHandleForReading.read(upToCount: 1), byte != Data("\n".utf8) {
            if byte.isEmpty { break }
            line += byte
        }
        url = "http://127.0.0.1:" + String(decoding: line, as: UTF8.self)
    }

    deinit {
        // A child inherits which signals are blocked here; this one cannot be.
        kill(process.processIdentifier, SIGKILL)
    }
}

@Suite struct Registry {
    /// Each path is answered once, so that a second request would find nothing.
    @Test func aSchemaIsAskedForOnce() throws {
        let standIn = try StandIn(["/schemas/ids/7": (200, #"{"schema": "\"int\""}"#)])
        let registry = SchemaRegistry(url: standIn.url + "/", auth: "")
        for _ in 0..<2 {
            #expect(try registry.schema(id: 7) == WriterSchema(type: "AVRO", text: "\"int\"", references: []))
        }
        let fault = #expect(throws: SchemaUnavailable.self) { try registry.schema(id: 8) }
        #expect(fault?.description == "schema 8: \(standIn.url)/schemas/ids/8 answers 404 (Schema not found)")
    }

    /// `b` refers to `c`, and `a` to both: `c` comes first, once.
    @Test func referencesAreFollowed() throws {
        func answer(_ text: String, _ references: [(String, Int)]) -> (Int, String) {
            let list = references.map { #"{"name": "n", "subject": "\#($0)", "version": \#($1)}"# }
            return (
                200, #"{"schema": "\#(text)", "references": [\#(list.joined(separator: ","))], "schemaType": "JSON"}"#
            )
        }
        let standIn = try StandIn([
            "/schemas/ids/4294967295": answer("a", [("b/v", 2), ("c", 1)]),
            "/subjects/b%2Fv/versions/2": answer("b", [("c", 1)]), "/subjects/c/versions/1": answer("c", []),
        ])
        let schema = try SchemaRegistry(url: standIn.url, auth: "").schema(id: .max)
        #expect(
            schema
                == WriterSchema(
                    type: "JSON", text: "a", references: [.init(name: "n", text: "c"), .init(name: "n", text: "b")]))
    }

    @Test(arguments: [
        ("", "none"), ("ann:se:cret", "Basic " + Data("ann:se:cret".utf8).base64EncodedString()),
        ("Bearer abc.def", "Bearer abc.def"),
    ])
    func credentials(auth: String, header: String) throws {
        let standIn = try StandIn(["/schemas/ids/1": (200, #"{"schema": "AUTH"}"#)])
        #expect(try SchemaRegistry(url: standIn.url, auth: auth).schema(id: 1).text == header)
    }

    @Test func whatIsNoRegistry() throws {
        let standIn = try StandIn(["/schemas/ids/1": (200, "<html>"), "/schemas/ids/2": (503, "busy")])
        let registry = SchemaRegistry(url: standIn.url, auth: "")
        let other = #expect(throws: SchemaUnavailable.self) { try registry.schema(id: 1) }
        #expect(other?.reason.hasSuffix("does not answer as a schema registry; check input.registry.url") == true)
        let busy = #expect(throws: SchemaUnavailable.self) { try registry.schema(id: 2) }
        #expect(busy?.reason == "\(standIn.url)/schemas/ids/2 answers 503")
        let locked = try StandIn([
            "/schemas/ids/1": (401, #"{"error_code": 401, "message": "Unauthorized"}"#),
            "/schemas/ids/2": (200, "SLOW"),
        ])
        let refused = #expect(throws: SchemaUnavailable.self) {
            try SchemaRegistry(url: locked.url, auth: "").schema(id: 1)
        }
        #expect(refused?.reason == "\(locked.url)/schemas/ids/1 answers 401 (Unauthorized)")
        #expect(refused?.isOfSource == true && busy?.isOfSource == true && other?.isOfSource == false)
        let slow = #expect(throws: SchemaUnavailable.self) {
            try SchemaRegistry(url: locked.url, auth: "", timeoutMs: 200).schema(id: 2)
        }
        #expect(slow?.reason.contains("cannot be reached") == true && slow?.isOfSource == true)
        let gone = #expect(throws: SchemaUnavailable.self) {
            try SchemaRegistry(url: "http://127.0.0.1:1", auth: "").schema(id: 1)
        }
        #expect(gone?.reason.hasPrefix("http://127.0.0.1:1 cannot be reached: ") == true)
        let file = #expect(throws: SchemaUnavailable.self) {
            try SchemaRegistry(url: "file:///etc", auth: "").schema(id: 1)
        }
        #expect(file?.reason.contains("cannot be reached") == true)
    }
}
