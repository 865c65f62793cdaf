import CEventParser
import CHash
import Glibc

// Ids whose events and whose customer are in different partitions of a topic of events (`IdentityMessage`): what a
// partition does as the one that has the events of an alias, and as the one that has the customer.
extension PartitionTask {
    /// So often an event or a message is passed on; then it is taken where it is. More is a circle that forms anew.
    static let mostHops: UInt8 = 8
    /// Landmarks that go along with a customer, the newest.
    private static let mostLandmarks = 64

    // MARK: Events

    /// Whether an event will be passed on.
    func isPassedOn(toAnother event: UnsafePointer<clvd_event>) -> Bool {
        guard settings.joinsByTopic, event.pointee.hops < Self.mostHops else { return false }
        let id = named(event)
        return aliases.customer(of: id.baseAddress!, id.count, hash: users.hash(id.baseAddress!, id.count)) != nil
    }

    /// Passes an event on to the partition of the customer whose alias its id is.
    /// - Returns: false when it is to be taken in here.
    func passOn(_ event: UnsafePointer<clvd_event>, index: UInt32, _ model: ServingModel) -> Bool {
        let named = named(event)
        let hash = users.hash(named.baseAddress!, named.count)
        guard let customer = aliases.customer(of: named.baseAddress!, named.count, hash: hash) else { return false }
        guard event.pointee.hops < Self.mostHops else {
            aliases.remove(alias: named)
            return false
        }
        counters.forwarded += 1
        guard !muted else { return true }
        flush(model)
        outbox.append(.forward, record: index, source: RecordPlace(event.pointee), key: customer) { _ in }
        return true
    }

    // MARK: Messages

    /// Takes in a message of another partition or of the first stage.
    func obey(_ event: UnsafePointer<clvd_event>, index: UInt32, _ model: ServingModel) {
        counters.messages += 1
        let e = event.pointee
        let key = IDBytes(start: e.user, count: Int(e.user_length))
        guard key.count > 0, let message = IdentityMessage(IDBytes(start: e.alias, count: Int(e.alias_length))) else {
            counters.messagesRefused += 1
            return
        }
        flush(model)
        currentRecord = index
        switch message.kind {
        case .alias: beginAlias(key, message, event, model)
        case .adopt: adopt(key, message, event, model)
        case .forget: forget(key, message, event)
        }
    }

    private func send(
        _ message: IdentityMessage, to key: IDBytes, from event: UnsafePointer<clvd_event>
    ) {
        guard !muted else { return }
        outbox.append(.message, record: currentRecord, source: RecordPlace(event.pointee), key: key) { w in
            message.bytes.withUnsafeBufferPointer { w.append($0.baseAddress!, $0.count) }
        }
    }

    /// Of an alias: what is held of it goes to the customer, and its events from now on.
    private func beginAlias(
        _ alias: IDBytes, _ message: IdentityMessage, _ event: UnsafePointer<clvd_event>, _ model: ServingModel
    ) {
        var answer = IdentityMessage(kind: .adopt)
        (answer.time, answer.isExplicit, answer.isOrderWhole) = (message.time, message.isExplicit, message.isOrderWhole)
        answer.cause = RecordPlace(event.pointee)
        answer.ids = [Array(alias)]
        let place: UInt32
        switch message.ids[0].withUnsafeBufferPointer({
            aliases.join(alias, to: $0, at: message.time, isExplicit: message.isExplicit)
        }) {
        case .repeated, .refused: return
        case .repointed(let customer):
            counters.aliasesRepointed += 1
            place = customer
        case .joined(let customer):
            place = customer
            let hash = users.hash(alias.baseAddress!, alias.count)
            let slot = slot(of: alias, hash: hash)
            if slot != UserTable.none { giveAway(slot, to: aliases.id(place), &answer, event, model) }
        }
        send(answer, to: aliases.id(place), from: event)
    }

    private func giveAway(
        _ slot: UInt32, to customer: IDBytes, _ answer: inout IdentityMessage, _ event: UnsafePointer<clvd_event>,
        _ model: ServingModel
    ) {
        clearAlert(of: slot, event, model)
        tell(joined: slot, to: customer, event)
        counters.joined += 1
        let size = settings.userLayout.size
        answer.slot = Array(UnsafeRawBufferPointer(start: users.slot(slot), count: size))
        answer.landmarks = pool.openLandmarks(
            of: slot, newest: users.slot(slot).header.pointee.landmark, at: clock.watermark, most: Self.mostLandmarks)
        answer.layout = settings.handoverLayout
        removeSlot(slot)
    }

    /// Of a customer: an alias has become its own, with what was held of it elsewhere.
    private func adopt(
        _ user: IDBytes, _ message: IdentityMessage, _ event: UnsafePointer<clvd_event>, _ model: ServingModel
    ) {
        guard adoptions.insert(message.identity) else {
            counters.messagesRepeated += 1
            return
        }
        if let erased = erasures.time(of: users.hash(user.baseAddress!, user.count)), message.time <= erased {
            return answerErased(user, message, erased, event)
        }
        message.ids[0].withUnsafeBufferPointer { alias in
            let hash = users.hash(user.baseAddress!, user.count)
            let customer = aliases.customer(of: user.baseAddress!, user.count, hash: hash)
            // Where two joins contradict each other, the newer one counts.
            let contradicts = customer.map { $0.elementsEqual(alias) } ?? false
            let isNewer = contradicts && message.time >= (aliases.time(of: user) ?? .min)
            if let customer, !isNewer, message.hops < Self.mostHops {
                var onward = message
                onward.hops += 1
                return send(onward, to: customer, from: event)
            }
            if customer != nil, !isNewer { aliases.remove(alias: user) }
            // Meanwhile it may have become another customer's.
            if !alias.elementsEqual(user), (aliases.time(of: alias) ?? .min) <= message.time {
                _ = aliases.join(alias, to: user, at: message.time, isExplicit: true)
            }
            guard !message.slot.isEmpty else { return }
            take(message, of: alias, for: user, event, model)
        }
    }

    /// What is held in a message becomes a customer's.
    private func take(
        _ message: IdentityMessage, of alias: IDBytes, for user: IDBytes, _ event: UnsafePointer<clvd_event>,
        _ model: ServingModel
    ) {
        let layout = settings.userLayout
        guard message.layout == settings.handoverLayout, message.slot.count == layout.size else {
            counters.messagesRefused += 1
            return
        }
        let copy = UnsafeMutableRawPointer.allocate(byteCount: layout.size, alignment: 8)
        defer { copy.deallocate() }
        message.slot.withUnsafeBytes { copy.copyMemory(from: $0.baseAddress!, byteCount: layout.size) }
        let kept = UserHeader.inUse | UserHeader.scored
        copy.header.pointee.flags &= kept
        guard copy.header.pointee.events > 0, StateCheck(settings: settings, partition: id).fault(copy) == nil else {
            counters.messagesRefused += 1
            return
        }
        let hash = users.hash(user.baseAddress!, user.count)
        var into = slot(of: user, hash: hash)
        let merge = SlotMerge(layout: layout, isOrderWhole: message.isOrderWhole)
        if into == UserTable.none {
            if users.userCount >= settings.usersPerTask { evictIdlest() }
            into = users.insert(user.baseAddress!, user.count, hash: hash)
            merge.move(copy, into: users.slot(into))
            ranks.add(users.slot(into).header.pointee.lastValue)
        } else {
            merge.merge(copy, into: users.slot(into))
            rerun(users.slot(into), model)
        }
        adoptLandmarks(message, into)
        counters.adopted += 1
        var told = event.pointee
        (told.user, told.user_length) = (user.baseAddress, UInt32(user.count))
        (told.alias, told.alias_length, told.time_ms) = (nil, 0, message.time)
        withUnsafePointer(to: told) { refresh(into, $0, index: currentRecord, model) }
    }

    /// They come after those that are here, so they mature later than they are due, never before.
    private func adoptLandmarks(_ message: IdentityMessage, _ user: UInt32) {
        let size = settings.landmarkLayout.size
        guard settings.landmarks.isEnabled, message.landmarks.count.isMultiple(of: size) else { return }
        let check = StateCheck(settings: settings, partition: id)
        let isHeldOut = settings.landmarks.isHeldOut(users.slot(user).header.pointee.identity)
        let copy = UnsafeMutableRawPointer.allocate(byteCount: size, alignment: 8)
        defer { copy.deallocate() }
        for at in stride(from: 0, to: message.landmarks.count, by: size) {
            message.landmarks.withUnsafeBytes { copy.copyMemory(from: $0.baseAddress! + at, byteCount: size) }
            let h = LandmarkPool.header(copy).pointee
            guard check.fault(copy, h) == nil, StateCheck.instants.contains(h.instant), pool.admits(h.priority),
                let place = pool.append(user: user, instant: h.instant, priority: h.priority, users: users)
            else { continue }
            let new = LandmarkPool.header(place).pointee
            place.copyMemory(from: copy, byteCount: size)
            let header = LandmarkPool.header(place)
            (header.pointee.sequence, header.pointee.user, header.pointee.previous) = (
                new.sequence, new.user, new.previous
            )
            header.pointee.flags &= ~LandmarkHeader.holdOut
            if isHeldOut { header.pointee.flags |= LandmarkHeader.holdOut }
        }
    }

    // MARK: Erasure

    /// Tells the partitions of a customer's aliases that it was erased.
    func forgetAliases(of customer: IDBytes, _ event: UnsafePointer<clvd_event>, record: UInt32) {
        erasures.note(users.hash(customer.baseAddress!, customer.count), at: event.pointee.time_ms)
        currentRecord = record
        var names: [[UInt8]] = []
        aliases.forEachAlias(of: customer) { alias, _ in names.append(Array(alias)) }
        sendForget(to: names, of: [Array(customer)] + names, at: event.pointee.time_ms, event)
    }

    private func sendForget(
        to names: [[UInt8]], of ids: [[UInt8]], at time: Int64, _ event: UnsafePointer<clvd_event>
    ) {
        var message = IdentityMessage(kind: .forget)
        message.time = time
        message.ids = Array(ids.prefix(Int(IdentityMessage.mostIDs)))
        for name in names { name.withUnsafeBufferPointer { send(message, to: $0, from: event) } }
    }

    private func answerErased(
        _ user: IDBytes, _ message: IdentityMessage, _ time: Int64, _ event: UnsafePointer<clvd_event>
    ) {
        sendForget(to: message.ids, of: [Array(user)], at: time, event)
    }

    /// Of an alias: its customer was erased, so it is nobody's.
    private func forget(_ alias: IDBytes, _ message: IdentityMessage, _ event: UnsafePointer<clvd_event>) {
        let hash = users.hash(alias.baseAddress!, alias.count)
        guard let customer = aliases.customer(of: alias.baseAddress!, alias.count, hash: hash),
            message.ids.contains(where: { $0.elementsEqual(customer) }),
            (aliases.time(of: alias) ?? .min) <= message.time
        else { return }
        // What were aliases of this one here are the customer's, too.
        let id = Array(customer)
        var others: [[UInt8]] = []
        aliases.forEachAlias(of: customer) { other, time in
            if time <= message.time, !other.elementsEqual(alias) { others.append(Array(other)) }
        }
        aliases.remove(alias: alias)
        for other in others { other.withUnsafeBufferPointer { aliases.remove(alias: $0) } }
        sendForget(to: others, of: [id, Array(alias)], at: message.time, event)
    }
}

extension IdentityMessage {
    /// What tells an `adopt` from all others.
    var identity: UInt64 {
        let parts = [
            UInt64(truncatingIfNeeded: cause.topic) << 32 | UInt64(UInt32(bitPattern: cause.partition)),
            UInt64(bitPattern: cause.offset), UInt64(hops),
        ]
        return parts.withUnsafeBytes { clvd_hash($0.baseAddress!.assumingMemoryBound(to: UInt8.self), $0.count) }
    }
}

/// Hashes of what happened lately, in place of the oldest.
struct RecentHashes: Codable, Equatable {
    static let capacity = 4096
    private(set) var hashes: [UInt64] = []
    private(set) var times: [Int64] = []
    private var next = 0

    /// - Returns: false when it is there.
    mutating func insert(_ hash: UInt64) -> Bool {
        if hashes.contains(hash) { return false }
        note(hash, at: 0)
        return true
    }

    mutating func note(_ hash: UInt64, at time: Int64) {
        if let i = hashes.firstIndex(of: hash) {
            times[i] = max(times[i], time)
        } else if hashes.count < Self.capacity {
            hashes.append(hash)
            times.append(time)
        } else {
            (hashes[next], times[next]) = (hash, time)
            next = (next + 1) % Self.capacity
        }
    }

    func time(of hash: UInt64) -> Int64? { hashes.firstIndex(of: hash).map { times[$0] } }

    /// Whether a snapshot brought something that can be gone on from.
    var isWhole: Bool {
        hashes.count == times.count && hashes.count <= Self.capacity && (0..<Self.capacity).contains(next)
            && (next == 0 || hashes.count == Self.capacity) && times.allSatisfy(StateCheck.instants.contains)
    }
}
