import Foundation
import SnapshotStore
import Testing

@Suite("weights.safetensors")
struct SafetensorsTests {
    let fixture = Fixture()

    /// Parsed here from the description of the format, without the writer's help.
    private func parse(_ data: Data) throws -> [String: (shape: [Int], values: [Float])] {
        let length = Int(data.prefix(8).enumerated().reduce(UInt64(0)) { $0 | UInt64($1.element) << (8 * $1.offset) })
        #expect(length % 8 == 0)
        let header = data.dropFirst(8).prefix(length)
        #expect(header.first == UInt8(ascii: "{") && header.count == length)
        let object = try #require(JSONSerialization.jsonObject(with: header) as? [String: [String: Any]])
        let values = Data(data.dropFirst(8 + length))
        var covered: [(Int, Int)] = []
        var tensors: [String: (shape: [Int], values: [Float])] = [:]
        for (name, tensor) in object where name != "__metadata__" {
            #expect(Set(tensor.keys) == ["dtype", "shape", "data_offsets"])
            #expect(tensor["dtype"] as? String == "F32")
            let shape = try #require(tensor["shape"] as? [Int])
            let offsets = try #require(tensor["data_offsets"] as? [Int])
            #expect(offsets[1] - offsets[0] == shape.reduce(4, *))
            covered.append((offsets[0], offsets[1]))
            let bytes = Data(values[offsets[0]..<offsets[1]])
            tensors[name] = (
                shape,
                stride(from: 0, to: bytes.count, by: 4).map { i in
                    Float(bitPattern: (0..<4).reduce(0) { $0 | UInt32(bytes[i + $1]) << (8 * UInt32($1)) })
                }
            )
        }
        // Without gaps, to the end of the file.
        covered.sort { $0 < $1 }
        #expect(covered.reduce(0) { $0 == $1.0 ? $1.1 : -1 } == values.count)
        #expect((object["__metadata__"] as? [String: String])?["position"] == "9")
        return tensors
    }

    @Test func tensors() throws {
        let matrix: [Float] = [1, -2.5, 3, .leastNonzeroMagnitude, -0.0, .greatestFiniteMagnitude]
        let tensors: [(name: String, shape: [Int], values: [Float])] = [
            ("lstm.0.weight", [2, 3], matrix), ("bias \"é\"/\n", [1], [7]), ("none", [0, 4], []),
            ("scalar", [], [0.25]),
        ]
        let info = try fixture.store().write(
            SnapshotContent(
                position: 9, metadata: Data("{}".utf8), sections: [],
                weights: tensors.map {
                    SnapshotTensor(name: $0.name, shape: $0.shape, values: fixture.floats($0.values))
                })
        )
        let found = try parse(Data(contentsOf: URL(fileURLWithPath: info.path + "/weights.safetensors")))
        #expect(found.count == tensors.count)
        for tensor in tensors {
            #expect(found[tensor.name]?.shape == tensor.shape)
            #expect(found[tensor.name]?.values.map(\.bitPattern) == tensor.values.map(\.bitPattern))
        }
    }

    @Test func noTensors() throws {
        let info = try fixture.store().write(fixture.content(position: 9))
        #expect(try parse(Data(contentsOf: URL(fileURLWithPath: info.path + "/weights.safetensors"))).isEmpty)
    }
}
