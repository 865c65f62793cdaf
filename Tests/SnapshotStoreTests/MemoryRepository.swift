import Foundation
import SnapshotStore

/// Snapshots in memory, as the instances of a group share them.
final class MemoryStore {
    struct Entry {
        let info: SnapshotInfo
        let metadata: Data
        let sections: [(name: String, bytes: Data)]
    }

    /// By instance, then by name.
    var entries: [String: [String: Entry]] = [:]
    var owner: StoreOwner?
}

/// A store of another kind than a folder, made of nothing but the public interface. A write in the background takes
/// effect when its outcome is asked for.
final class MemoryRepository: SnapshotRepository {
    let instance: String
    private let store: MemoryStore
    private var begun: MemoryStore.Entry?
    private var later: [String] = []
    private var ended: SnapshotOutcome?

    init(_ store: MemoryStore, instance: String) {
        self.store = store
        self.instance = instance
    }

    private var own: [String: MemoryStore.Entry] { store.entries[instance] ?? [:] }

    private func listing(_ instance: String, _ entry: MemoryStore.Entry) -> SnapshotListing {
        SnapshotListing(
            instance: instance, name: entry.info.name, position: entry.info.position, metadata: entry.metadata)
    }

    func list() -> [SnapshotListing] {
        store.entries.flatMap { instance, entries in entries.values.map { listing(instance, $0) } }
    }

    func open(_ listing: SnapshotListing) throws -> Snapshot {
        guard let entry = store.entries[listing.instance]?[listing.name] else {
            throw SnapshotError(.missing, "open", listing.name, "it is not there", advice: "take another one")
        }
        let sections = Dictionary(uniqueKeysWithValues: entry.sections.map { ($0.name, $0.bytes) })
        return Snapshot(info: entry.info, metadata: entry.metadata, sectionNames: entry.sections.map(\.name)) {
            sections[$0]!
        }
    }

    func claim(_ owner: StoreOwner) -> StoreOwner {
        store.owner = store.owner ?? owner
        return store.owner ?? owner
    }

    func setOwner(_ owner: StoreOwner) { store.owner = owner }

    func newestOwn() throws -> Snapshot? {
        let newest = own.values.map { listing(instance, $0) }.max(by: SnapshotListing.isOlder)
        return try newest.map(open)
    }

    func removeOwn(name: String) { store.entries[instance]?[name] = nil }

    // MARK: Writing

    private func entry(_ content: SnapshotContent) -> MemoryStore.Entry {
        var part = content.isPart ? 1 : nil
        while let n = part, own[SnapshotListing.name(position: content.position, part: n)] != nil { part = n + 1 }
        let name = SnapshotListing.name(position: content.position, part: part)
        let sections = content.sections.map { section in
            (name: section.name, bytes: section.regions.reduce(into: Data()) { $0.append(contentsOf: $1) })
        }
        let info = SnapshotInfo(
            position: content.position, path: "/memory/\(instance)/\(name)",
            bytes: Int64(sections.reduce(0) { $0 + $1.bytes.count }), createdAt: Date())
        return MemoryStore.Entry(info: info, metadata: content.metadata, sections: sections)
    }

    private func names(after position: Int64) -> [String] {
        own.values.filter { $0.info.position > position }.map(\.info.name)
    }

    private func keep(_ entry: MemoryStore.Entry, insteadOf later: [String]) {
        for name in later { removeOwn(name: name) }
        store.entries[instance, default: [:]][entry.info.name] = entry
    }

    func begin(_ content: SnapshotContent) {
        ended = nil
        begun = entry(content)
        later = names(after: content.position)
    }

    func write(_ content: SnapshotContent) -> SnapshotInfo {
        let entry = entry(content)
        keep(entry, insteadOf: names(after: content.position))
        return entry.info
    }

    var isWriting: Bool { begun != nil }

    func poll() -> SnapshotOutcome? {
        if let entry = begun {
            keep(entry, insteadOf: later)
            begun = nil
            return .written(entry.info, seconds: 0)
        }
        defer { ended = nil }
        return ended
    }

    func finish() -> SnapshotOutcome? { poll() }

    func cancel() {
        guard let entry = begun else { return }
        begun = nil
        ended = .failed(
            SnapshotError(.cancelled, "write", entry.info.path, "it was stopped on request", advice: "write another"))
    }
}
