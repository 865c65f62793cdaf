/// The bytes of an id, in memory of somebody else.
typealias IDBytes = UnsafeBufferPointer<UInt8>

/// Which ids are aliases of which customers, in one partition task: a forest of depth one. An alias names its customer and
/// nothing else; what was an alias of an alias is the customer's own. So there are no chains to follow and no cycles.
///
/// A customer is in the table while it has aliases. Events of an id that is in no table cost one comparison while there are
/// no aliases at all, and one look-up where there are some.
struct AliasTable: ~Copyable {
    /// What a node says beside its id. Places of nodes are slots of `nodes`; `UserTable.none` is none.
    struct Link {
        /// Of an alias: when it was joined last; of a customer: when any of its aliases was. Event time, ms.
        var time: Int64
        /// Of an alias.
        var customer = UserTable.none
        /// Of a customer: the first of its aliases; they are linked both ways.
        var first = UserTable.none
        var next = UserTable.none
        var previous = UserTable.none
        /// The aliases by the order in which they were joined last.
        var older = UserTable.none
        var newer = UserTable.none
    }

    /// What a join has done.
    enum Outcome: Equatable {
        /// The alias was the customer's already.
        case repeated
        /// The alias is news: what is held of it belongs to the customer of this place.
        case joined(customer: UInt32)
        /// It was another customer's alias. From now on it is this one's; its past is not.
        case repointed(customer: UInt32)
        /// It has aliases itself, so it is a known customer, and none is merged with another but by an explicit alias.
        case refused
    }

    private(set) var nodes: UserTable
    /// Most aliases held.
    let capacity: Int
    /// Aliases held.
    private(set) var count = 0
    /// Aliases that had to go for newer ones since the task was made.
    private(set) var dropped: Int64 = 0
    private var oldest = UserTable.none
    private var newest = UserTable.none

    init(capacity: Int, seed: UInt64) {
        self.capacity = max(1, capacity)
        nodes = UserTable(layout: .ofAliases, seed: seed)
    }

    // MARK: Reading

    @inline(__always)
    private func link(_ place: UInt32) -> UnsafeMutablePointer<Link> {
        nodes.slot(place).at(UserLayout.ofAliases.rolling, as: Link.self)
    }

    private func find(_ id: IDBytes) -> UInt32 {
        nodes.find(id.baseAddress!, id.count, hash: nodes.hash(id.baseAddress!, id.count))
    }

    /// The id of a node. It stays where it is until the table changes.
    func id(_ place: UInt32) -> IDBytes { nodes.key(of: nodes.slot(place)) }

    /// The customer of an alias; nil for any other id. It stays where it is until the table changes.
    /// - Parameter hash: `UserTable.hash` of the id, with the seed of this table.
    @inline(__always)
    func customer(of key: UnsafePointer<UInt8>, _ length: Int, hash: UInt64) -> IDBytes? {
        guard count > 0 else { return nil }
        let place = nodes.find(key, length, hash: hash)
        guard place != UserTable.none, link(place).pointee.customer != UserTable.none else { return nil }
        return id(link(place).pointee.customer)
    }

    /// When an alias was joined last; nil for any other id.
    func time(of id: IDBytes) -> Int64? {
        let place = count == 0 ? UserTable.none : find(id)
        guard place != UserTable.none, link(place).pointee.customer != UserTable.none else { return nil }
        return link(place).pointee.time
    }

    /// The aliases of a customer, the newest first.
    func forEachAlias(of customer: IDBytes, _ body: (IDBytes, _ time: Int64) -> Void) {  // for tests
        let place = count == 0 ? UserTable.none : find(customer)
        var next = place == UserTable.none ? UserTable.none : link(place).pointee.first
        while next != UserTable.none {
            body(id(next), link(next).pointee.time)
            next = link(next).pointee.next
        }
    }

    // MARK: Joining

    /// From now on, an id is an alias of a customer, or of the customer that this is an alias of.
    /// - Parameters:
    ///   - time: event time of what says so, ms.
    ///   - isExplicit: whether the alias may be a customer that has aliases itself.
    mutating func join(_ alias: IDBytes, to user: IDBytes, at time: Int64, isExplicit: Bool) -> Outcome {
        var place = find(alias)
        var customer = find(user)
        if customer != UserTable.none, link(customer).pointee.customer != UserTable.none {
            // What says that the alias is the customer of its customer is news, and contradicts what was.
            if link(customer).pointee.customer == place {
                detach(customer)
            } else {
                customer = link(customer).pointee.customer
            }
        }
        var isRepointed = false
        if place != UserTable.none {
            let former = link(place).pointee.customer
            if former == customer, former != UserTable.none {
                renew(place, time)
                return .repeated
            }
            if former != UserTable.none {
                isRepointed = true
                detach(place)
                if link(former).pointee.first == UserTable.none, former != customer { nodes.remove(former) }
            } else if !isExplicit, link(place).pointee.first != UserTable.none {
                return .refused
            }
        }
        if customer == UserTable.none { customer = insert(user, time) }
        if place == UserTable.none { place = insert(alias, time) }
        adoptAliases(of: place, by: customer)
        attach(place, to: customer, time)
        if count > capacity { dropOldest() }
        return isRepointed ? .repointed(customer: customer) : .joined(customer: customer)
    }

    private mutating func insert(_ id: IDBytes, _ time: Int64) -> UInt32 {
        let place = nodes.insert(id.baseAddress!, id.count, hash: nodes.hash(id.baseAddress!, id.count))
        link(place).initialize(to: Link(time: time))
        return place
    }

    private mutating func adoptAliases(of place: UInt32, by customer: UInt32) {
        while case let child = link(place).pointee.first, child != UserTable.none {
            let time = link(child).pointee.time
            detach(child)
            attach(child, to: customer, time)
        }
    }

    private mutating func renew(_ place: UInt32, _ time: Int64) {
        let customer = link(place).pointee.customer
        let time = max(time, link(place).pointee.time)
        link(place).pointee.time = time
        link(customer).pointee.time = max(time, link(customer).pointee.time)
        guard place != newest else { return }
        unlinkAge(place)
        linkAge(place)
    }

    private mutating func attach(_ place: UInt32, to customer: UInt32, _ time: Int64) {
        let (l, c) = (link(place), link(customer))
        l.pointee.time = time
        c.pointee.time = max(time, c.pointee.time)
        l.pointee.customer = customer
        (l.pointee.previous, l.pointee.next) = (UserTable.none, c.pointee.first)
        if c.pointee.first != UserTable.none { link(c.pointee.first).pointee.previous = place }
        c.pointee.first = place
        linkAge(place)
        count += 1
    }

    /// An alias is no alias any more. It stays a node.
    private mutating func detach(_ place: UInt32) {
        let l = link(place)
        if l.pointee.previous == UserTable.none {
            link(l.pointee.customer).pointee.first = l.pointee.next
        } else {
            link(l.pointee.previous).pointee.next = l.pointee.next
        }
        if l.pointee.next != UserTable.none { link(l.pointee.next).pointee.previous = l.pointee.previous }
        (l.pointee.customer, l.pointee.next, l.pointee.previous) = (UserTable.none, UserTable.none, UserTable.none)
        unlinkAge(place)
        count -= 1
    }

    private mutating func linkAge(_ place: UInt32) {
        (link(place).pointee.older, link(place).pointee.newer) = (newest, UserTable.none)
        if newest == UserTable.none { oldest = place } else { link(newest).pointee.newer = place }
        newest = place
    }

    private mutating func unlinkAge(_ place: UInt32) {
        let l = link(place).pointee
        if l.older == UserTable.none { oldest = l.newer } else { link(l.older).pointee.newer = l.newer }
        if l.newer == UserTable.none { newest = l.older } else { link(l.newer).pointee.older = l.older }
    }

    // MARK: Leaving

    private mutating func dropOldest() {
        let (place, customer) = (oldest, link(oldest).pointee.customer)
        detach(place)
        nodes.remove(place)
        if link(customer).pointee.first == UserTable.none { nodes.remove(customer) }
        dropped += 1
    }

    /// An alias is a customer of its own again, or nothing.
    mutating func remove(alias id: IDBytes) {
        let place = count == 0 ? UserTable.none : find(id)
        guard place != UserTable.none, case let customer = link(place).pointee.customer, customer != UserTable.none
        else {
            return
        }
        detach(place)
        nodes.remove(place)
        if link(customer).pointee.first == UserTable.none { nodes.remove(customer) }
    }

    /// Forgets a customer with all its aliases.
    mutating func remove(customer id: IDBytes) {
        let place = count == 0 ? UserTable.none : find(id)
        if place != UserTable.none { remove(customer: place) }
    }

    private mutating func remove(customer place: UInt32) {
        while case let child = link(place).pointee.first, child != UserTable.none {
            detach(child)
            nodes.remove(child)
        }
        nodes.remove(place)
    }

    /// Forgets the customers, one in `step` of them a call, who are held no longer and have not been joined to since `time`.
    mutating func removeUnused(phase: Int, step: Int, before time: Int64, isHeld: (IDBytes) -> Bool) {
        for i in stride(from: phase, to: nodes.slotCount, by: step) {
            let place = UInt32(i)
            guard nodes.slot(place).header.pointee.flags & UserHeader.inUse != 0 else { continue }
            let l = link(place).pointee
            guard l.customer == UserTable.none, l.time < time, !isHeld(id(place)) else { continue }
            remove(customer: place)
        }
    }
}

extension UserLayout {
    /// Of the nodes of an `AliasTable`.
    static let ofAliases = UserLayout(linkBytes: MemoryLayout<AliasTable.Link>.stride)
}

// MARK: - Snapshot

extension AliasTable {
    struct Image: Codable, Equatable {
        var nodes: UserTable.Image
        var dropped: Int64
        var oldest: UInt32
        var newest: UInt32
    }

    /// nil: there is nothing to keep.
    var image: Image? {
        guard nodes.slotCount > 0 else { return nil }
        return Image(nodes: nodes.image, dropped: dropped, oldest: oldest, newest: newest)
    }

    /// - Throws: `SnapshotMismatch` when what was kept is no table of aliases.
    init(capacity: Int, image: Image, nodes bytes: UnsafeRawBufferPointer, longKeys: UnsafeRawBufferPointer) throws {
        let noRecords = UnsafeRawBufferPointer(start: nil, count: 0)
        let table = try UserTable(
            layout: .ofAliases, image: image.nodes, slots: bytes, longKeys: longKeys, former: noRecords)
        guard image.dropped >= 0, let links = AliasTable.countLinks(table, image) else {
            throw SnapshotMismatch("the aliases do not fit their own description")
        }
        self.capacity = max(1, capacity)
        nodes = table
        (oldest, newest) = (image.oldest, image.newest)
        (dropped, count) = (image.dropped, links)
        while count > self.capacity { dropOldest() }
    }

    /// How many aliases there are; nil where links are not those that a table makes: each node is an alias in the list of
    /// its customer and in the list by age, or a customer with aliases.
    private static func countLinks(_ nodes: borrowing UserTable, _ image: Image) -> Int? {
        let end = nodes.slotCount
        let slots = nodes.slotBytes.baseAddress
        func header(_ place: UInt32) -> UserHeader {
            slots!.loadUnaligned(fromByteOffset: Int(place) * UserLayout.ofAliases.size, as: UserHeader.self)
        }
        func link(_ place: UInt32) -> Link {
            let at = Int(place) * UserLayout.ofAliases.size + UserLayout.ofAliases.rolling
            return slots!.loadUnaligned(fromByteOffset: at, as: Link.self)
        }
        func isNode(_ place: UInt32) -> Bool {
            Int(place) < end && header(place).flags & UserHeader.inUse != 0
        }
        var (aliases, customers) = (0, 0)
        for i in 0..<end where isNode(UInt32(i)) {
            let place = UInt32(i)
            let l = link(place)
            guard StateCheck.instants.contains(l.time) else { return nil }
            guard l.customer == UserTable.none else {
                aliases += 1
                continue
            }
            customers += 1
            guard l.first != UserTable.none, l.next == UserTable.none, l.previous == UserTable.none else { return nil }
        }
        // A list that is walked to its end, from node to node that name each other, comes to none twice.
        var listed = 0
        for i in 0..<end where isNode(UInt32(i)) && link(UInt32(i)).customer == UserTable.none {
            var (previous, place) = (UserTable.none, link(UInt32(i)).first)
            while place != UserTable.none {
                guard isNode(place), case let l = link(place), l.customer == UInt32(i), l.previous == previous,
                    l.first == UserTable.none, listed < aliases
                else { return nil }
                listed += 1
                (previous, place) = (place, l.next)
            }
        }
        var (aged, older, place) = (0, UserTable.none, image.oldest)
        while place != UserTable.none {
            guard isNode(place), case let l = link(place), l.customer != UserTable.none, l.older == older,
                aged < aliases
            else { return nil }
            aged += 1
            (older, place) = (place, l.newer)
        }
        return listed == aliases && aged == aliases && older == image.newest && nodes.userCount == aliases + customers
            ? aliases : nil
    }
}
