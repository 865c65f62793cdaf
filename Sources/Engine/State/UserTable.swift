import CHash
import Glibc

/// Bytes one after the other in memory of their own; where they lie changes only when they are appended to.
private struct ByteArena: ~Copyable {
    private(set) var bytes: UnsafeMutablePointer<UInt8>
    private(set) var count = 0
    private(set) var capacity: Int

    init(capacity: Int = 0) {
        self.capacity = max(64, capacity)
        bytes = .allocate(capacity: self.capacity)
    }

    deinit { bytes.deallocate() }

    mutating func append(_ source: UnsafePointer<UInt8>, _ length: Int) {
        if count + length > capacity {
            capacity = max(2 * capacity, count + length)
            let larger = UnsafeMutablePointer<UInt8>.allocate(capacity: capacity)
            larger.update(from: bytes, count: count)
            bytes.deallocate()
            bytes = larger
        }
        (bytes + count).update(from: source, count: length)
        count += length
    }
}

/// The users of one partition task: dense slots of fixed size, an open-addressing index over them, and an arena
/// for the few keys that do not fit a slot. Slots never move while their user lives, so a slot number is a
/// user's name inside the task. Memory grows by `realloc`, whose untouched pages cost nothing.
struct UserTable: ~Copyable {
    let layout: UserLayout
    let seed: UInt64
    private(set) var slots: UnsafeMutableRawPointer
    /// Slots ever used; those below it are in use or in the free list.
    private(set) var slotCount = 0
    private(set) var userCount = 0
    private var slotCapacity = 0
    /// Entries: slot + 1 in the low half (0 is empty), a tag of the hash in the high half.
    private var index: UnsafeMutablePointer<UInt64>
    private var indexCapacity: Int
    /// Slots freed by evictions, last in first out.
    private var freeSlots: [UInt32] = []
    private var longKeys = ByteArena()
    /// Bytes of the arena whose users have left.
    private var longKeyGarbage = 0
    /// What stays known of users whose slots were needed.
    var former = FormerCustomers()

    static let none = UInt32.max

    init(layout: UserLayout, seed: UInt64) {
        self.layout = layout
        self.seed = seed
        slotCapacity = 64
        slots = malloc(slotCapacity * layout.size)!
        indexCapacity = 128
        index = .allocate(capacity: indexCapacity)
        index.initialize(repeating: 0, count: indexCapacity)
    }

    deinit {
        free(slots)
        index.deallocate()
    }

    @inline(__always)
    func slot(_ i: UInt32) -> UserSlot { slots + Int(i) * layout.size }

    /// Seeded 64-bit hash of a key.
    @inline(__always)
    func hash(_ key: UnsafePointer<UInt8>, _ length: Int) -> UInt64 {
        clvd_seeded_hash(key, length, seed)
    }

    @inline(__always)
    private func place(_ hash: UInt64) -> Int {
        Int(hash.multipliedFullWidth(by: UInt64(indexCapacity)).high)
    }

    /// The bytes of a user's key. They stay where they are until the next insertion or removal.
    func key(of slot: UserSlot) -> UnsafeBufferPointer<UInt8> {
        let length = Int(slot.header.pointee.keyLength)
        let inline = (slot + layout.key).assumingMemoryBound(to: UInt8.self)
        if length <= UserLayout.keyBytes { return UnsafeBufferPointer(start: inline, count: length) }
        let at = Int((slot + layout.key).loadUnaligned(as: UInt64.self))
        return UnsafeBufferPointer(start: longKeys.bytes + at, count: length)
    }

    /// Whether a slot's key is the one given. Full bytes are compared.
    @inline(__always)
    private func matches(_ slot: UserSlot, _ key: UnsafePointer<UInt8>, _ length: Int) -> Bool {
        guard Int(slot.header.pointee.keyLength) == length else { return false }
        if length <= UserLayout.keyBytes { return memcmp(slot + layout.key, key, length) == 0 }
        return memcmp(self.key(of: slot).baseAddress!, key, length) == 0
    }

    /// The slot of a user, or `none`.
    func find(_ key: UnsafePointer<UInt8>, _ length: Int, hash: UInt64) -> UInt32 {
        var i = place(hash)
        let tag = hash << 32
        while true {
            let entry = index[i]
            if entry == 0 { return UserTable.none }
            if entry & 0xFFFF_FFFF_0000_0000 == tag {
                let found = UInt32(truncatingIfNeeded: entry) - 1
                if matches(slot(found), key, length) { return found }
            }
            i += 1
            if i == indexCapacity { i = 0 }
        }
    }

    /// A fresh, zeroed slot for a key that is not in the table.
    mutating func insert(_ key: UnsafePointer<UInt8>, _ length: Int, hash: UInt64) -> UInt32 {
        if (userCount + 1) * 100 > indexCapacity * 85 { growIndex() }
        let new: UInt32
        if let reused = freeSlots.popLast() {
            new = reused
        } else {
            if slotCount == slotCapacity { growSlots() }
            new = UInt32(slotCount)
            slotCount += 1
        }
        let s = slot(new)
        memset(s, 0, layout.size)
        s.header.initialize(to: UserHeader())
        s.header.pointee.flags = UserHeader.inUse
        s.header.pointee.keyLength = UInt16(length)
        s.header.pointee.identity = UInt32(truncatingIfNeeded: clvd_seeded_hash(key, length, 0))
        if length <= UserLayout.keyBytes {
            memcpy(s + layout.key, key, length)
        } else {
            (s + layout.key).storeBytes(of: UInt64(longKeys.count), as: UInt64.self)
            longKeys.append(key, length)
        }
        link(new, hash)
        userCount += 1
        return new
    }

    private mutating func link(_ slot: UInt32, _ hash: UInt64) {
        var i = place(hash)
        while index[i] != 0 {
            i += 1
            if i == indexCapacity { i = 0 }
        }
        index[i] = hash << 32 | UInt64(slot + 1)
    }

    /// Forgets a user. Its bytes are overwritten with zeros.
    mutating func remove(_ slotNumber: UInt32) {
        let s = slot(slotNumber)
        let key = self.key(of: s)
        var i = place(hash(key.baseAddress!, key.count))
        while UInt32(truncatingIfNeeded: index[i]) != slotNumber + 1 {
            i += 1
            if i == indexCapacity { i = 0 }
        }
        unlink(at: i)
        if key.count > UserLayout.keyBytes {
            let at = Int((s + layout.key).loadUnaligned(as: UInt64.self))
            memset(longKeys.bytes + at, 0, key.count)
            longKeyGarbage += key.count
        }
        memset(s, 0, layout.size)
        freeSlots.append(slotNumber)
        userCount -= 1
        if longKeyGarbage > 4096 && longKeyGarbage * 2 > longKeys.count { compactLongKeys() }
    }

    /// Linear probing without tombstones: entries after the hole move back where they may.
    private mutating func unlink(at start: Int) {
        var hole = start
        var i = start
        while true {
            i += 1
            if i == indexCapacity { i = 0 }
            let entry = index[i]
            if entry == 0 { break }
            let k = key(of: slot(UInt32(truncatingIfNeeded: entry) - 1))
            let home = place(hash(k.baseAddress!, k.count))
            let distanceHome = (i - home + indexCapacity) % indexCapacity
            let distanceHole = (i - hole + indexCapacity) % indexCapacity
            if distanceHome >= distanceHole {
                index[hole] = entry
                hole = i
            }
        }
        index[hole] = 0
    }

    private mutating func growSlots() {
        slotCapacity += max(64, slotCapacity / 2)
        slots = realloc(slots, slotCapacity * layout.size)!
    }

    private mutating func growIndex() {
        let old = indexCapacity
        indexCapacity += old / 2
        index.deallocate()
        index = .allocate(capacity: indexCapacity)
        rebuildIndex()
    }

    private mutating func rebuildIndex() {
        index.initialize(repeating: 0, count: indexCapacity)
        for i in 0..<slotCount where slot(UInt32(i)).header.pointee.flags & UserHeader.inUse != 0 {
            let k = key(of: slot(UInt32(i)))
            link(UInt32(i), hash(k.baseAddress!, k.count))
        }
    }

    /// The hash of each user's key.
    func forEachHash(_ body: (UInt64) -> Void) {
        for i in 0..<slotCount where slot(UInt32(i)).header.pointee.flags & UserHeader.inUse != 0 {
            let k = key(of: slot(UInt32(i)))
            body(hash(k.baseAddress!, k.count))
        }
        former.forEachHash(body)
    }

    /// The newest landmark of a slot or of a former customer, as landmarks name their user.
    @inline(__always)
    func setNewest(_ landmark: UInt32, of user: UInt32) {
        if user < FormerCustomers.bit {
            slot(user).header.pointee.landmark = landmark
        } else if user < FormerCustomers.gone {
            former.records[Int(user & ~FormerCustomers.bit)].landmark = landmark
        }
    }

    @inline(__always)
    func newest(of user: UInt32) -> UInt32 {
        if user < FormerCustomers.bit { return slot(user).header.pointee.landmark }
        return user < FormerCustomers.gone ? former.records[Int(user & ~FormerCustomers.bit)].landmark : 0
    }

    private mutating func compactLongKeys() {
        var kept = ByteArena(capacity: longKeys.count - longKeyGarbage)
        for i in 0..<slotCount {
            let s = slot(UInt32(i))
            guard s.header.pointee.flags & UserHeader.inUse != 0, Int(s.header.pointee.keyLength) > UserLayout.keyBytes
            else { continue }
            let k = key(of: s)
            (s + layout.key).storeBytes(of: UInt64(kept.count), as: UInt64.self)
            kept.append(k.baseAddress!, k.count)
        }
        longKeys = kept
        longKeyGarbage = 0
    }
}

// MARK: - Snapshot

extension UserTable {
    /// What, beside the slots themselves, makes the table again. The index is rebuilt.
    struct Image: Codable, Equatable {
        var slotCount: Int
        var userCount: Int
        var freeSlots: [UInt32]
        var seed: UInt64
        var slotBytes: Int
        var indexCapacity: Int
        /// nil in format 7 and before.
        var former: FormerCustomers.Image?
    }

    var image: Image {
        Image(
            slotCount: slotCount, userCount: userCount, freeSlots: freeSlots, seed: seed, slotBytes: layout.size,
            indexCapacity: indexCapacity, former: former.image)
    }

    /// The slots in use and free, as they lie in memory.
    var slotBytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: slots, count: slotCount * layout.size) }

    var longKeyBytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: longKeys.bytes, count: longKeys.count) }

    /// The slots in use and the long keys without what a model has had a hand in: predictions, alerts, recurrent states,
    /// and landmarks, which are kept as learning needs them.
    var statistics: [UInt8] {
        var bytes: [UInt8] = []
        var copy = [UInt64](repeating: 0, count: layout.size / 8)
        for i in 0..<slotCount where slot(UInt32(i)).header.pointee.flags & UserHeader.inUse != 0 {
            copy.withUnsafeMutableBytes { copy in
                copy.copyMemory(from: UnsafeRawBufferPointer(start: slot(UInt32(i)), count: layout.size))
                let start = copy.baseAddress!
                let h = start.header
                (h.pointee.landmark, h.pointee.lastValue, h.pointee.lastChurn) = (0, 0, 0)
                (h.pointee.alertRaisedAt, h.pointee.alerts) = (0, 0)
                h.pointee.flags &= ~(UserHeader.alertRaised | UserHeader.alertWithheld | UserHeader.scored)
                memset(start + layout.rolling, 0, layout.stateBytes)
                memset(start + layout.boundary, 0, layout.stateBytes)
            }
            copy.withUnsafeBytes { bytes.append(contentsOf: $0) }
        }
        return bytes + longKeyBytes
    }

    /// Bytes that hold something: slots ever used, index, long keys.
    var usedBytes: Int { slotCount * layout.size + indexCapacity * 8 + longKeys.count + former.usedBytes }

    /// Bytes of memory the table holds (touched or not).
    var allocatedBytes: Int {
        slotCapacity * layout.size + indexCapacity * 8 + longKeys.capacity + former.usedBytes
    }

    /// What is wrong with slots and long keys, if anything: in use are as many slots as there are users; the others are in
    /// the list of free ones, each once; every long key has bytes of its own in the arena.
    private static func fault(
        _ slots: UnsafeRawBufferPointer, _ layout: UserLayout, _ image: Image, longKeys: Int
    ) -> StaticString? {
        var isFree = [Bool](repeating: false, count: image.slotCount)
        for slot in image.freeSlots {
            guard Int(slot) < image.slotCount, !isFree[Int(slot)] else { return "the list of free slots" }
            isFree[Int(slot)] = true
        }
        var keys: [(at: UInt64, length: Int)] = []
        for i in 0..<image.slotCount {
            let header = slots.loadUnaligned(fromByteOffset: i * layout.size, as: UserHeader.self)
            guard (header.flags & UserHeader.inUse == 0) == isFree[i] else { return "slots in use and free ones" }
            let length = Int(header.keyLength)
            if isFree[i] || length <= UserLayout.keyBytes { continue }
            keys.append((slots.loadUnaligned(fromByteOffset: i * layout.size + layout.key, as: UInt64.self), length))
        }
        keys.sort { $0.at < $1.at }
        var end = 0
        for key in keys {
            guard key.at >= UInt64(end), key.at <= UInt64(longKeys), key.length <= longKeys - Int(key.at) else {
                return "the long keys"
            }
            end = Int(key.at) + key.length
        }
        return nil
    }

    /// - Parameter former: records of former customers; empty in format 7 and before.
    init(
        layout: UserLayout, image: Image, slots bytes: UnsafeRawBufferPointer, longKeys: UnsafeRawBufferPointer,
        former records: UnsafeRawBufferPointer
    ) throws {
        // Whatever the numbers are, they are compared with the bytes that are there before they are computed with.
        guard image.slotBytes == layout.size, bytes.count.isMultiple(of: layout.size),
            image.slotCount == bytes.count / layout.size,
            (0...image.slotCount).contains(image.userCount),
            image.freeSlots.count == image.slotCount - image.userCount,
            (128...max(1024, 16 * image.slotCount)).contains(image.indexCapacity),
            image.userCount * 100 <= image.indexCapacity * 85
        else { throw SnapshotMismatch("the user table does not fit its own description") }
        if let fault = UserTable.fault(bytes, layout, image, longKeys: longKeys.count) {
            throw SnapshotMismatch("the user table does not fit its own description: \(fault)")
        }
        if let image = image.former, !FormerCustomers.fit(image, records) {
            throw SnapshotMismatch("the former customers do not fit their own description")
        }
        self.layout = layout
        seed = image.seed
        slotCount = image.slotCount
        userCount = image.userCount
        slotCapacity = max(64, image.slotCount)
        slots = malloc(slotCapacity * layout.size)!
        if let base = bytes.baseAddress { memcpy(slots, base, bytes.count) }
        freeSlots = image.freeSlots
        if let base = longKeys.baseAddress {
            self.longKeys.append(base.assumingMemoryBound(to: UInt8.self), longKeys.count)
        }
        indexCapacity = image.indexCapacity
        index = .allocate(capacity: indexCapacity)
        rebuildIndex()
        longKeyGarbage = self.longKeys.count - livingLongKeys
        if let image = image.former { former = FormerCustomers(image, records) }
    }

    /// Bytes of the long keys of the users there are.
    private var livingLongKeys: Int {
        var bytes = 0
        for i in 0..<slotCount where slot(UInt32(i)).header.pointee.flags & UserHeader.inUse != 0 {
            let length = Int(slot(UInt32(i)).header.pointee.keyLength)
            if length > UserLayout.keyBytes { bytes += length }
        }
        return bytes
    }
}
