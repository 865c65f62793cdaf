import CEventParser

/// What every user did, as far as outcomes need it: when, and what was bought. Held beside the engine, which must not
/// know the future.
package struct EventLog {
    package struct User {
        let id: String
        /// Epoch milliseconds, ascending as the file is.
        package var events: [Int64] = []
        var purchases: [Int64] = []
        /// When money changed, and the money up to and with each change.
        var changes: [Int64] = []
        var spent: [Double] = []
        /// Totals of whole orders by the hash of their id.
        var orders: [UInt64: Double] = [:]
    }

    package private(set) var users: [User] = []
    private var places: [String: Int32] = [:]
    /// Of aliases: their customers, by places.
    private var customers: [Int32: Int32] = [:]
    private(set) var firstMs = Int64.max
    private(set) var lastMs = Int64.min

    /// Place of a user, made when new.
    package mutating func place(_ id: String) -> Int32 {
        if let known = places[id] { return known }
        let place = Int32(users.count)
        places[id] = place
        users.append(User(id: id))
        return place
    }

    package func place(known id: String) -> Int32? { places[id] }

    /// Takes in an event that was decoded.
    mutating func add(_ event: clvd_event) {
        guard event.status == UInt8(clvd_status_ok.rawValue), let key = event.user else { return }
        let id = String(decoding: UnsafeBufferPointer(start: key, count: Int(event.user_length)), as: UTF8.self)
        if let alias = event.alias {
            join(
                String(decoding: UnsafeBufferPointer(start: alias, count: Int(event.alias_length)), as: UTF8.self),
                to: id)
        }
        guard event.type != UInt8(clvd_type_identify.rawValue), event.type != UInt8(clvd_type_alias.rawValue) else {
            return
        }
        // Two statements: in one, the log would be copied before a user is added.
        let user = place(id)
        let at = Int(customer(of: user))
        let time = event.time_ms
        firstMs = min(firstMs, time)
        lastMs = max(lastMs, time)
        users[at].events.append(time)
        guard event.type == UInt8(clvd_type_purchase.rawValue) else { return }
        if event.flags & UInt8(clvd_flag_whole_order.rawValue) != 0, event.order_hash != 0 {
            // An order that comes again is no purchase; a new total takes the place of the former.
            let former = users[at].orders.updateValue(event.amount, forKey: event.order_hash)
            if let former { return addMoney(at, at: time, event.amount - former) }
        }
        addPurchase(Int32(at), at: time, money: event.amount)
    }

    /// The place of the customer whose alias a user is; else of the user.
    func customer(of place: Int32) -> Int32 { customers[place] ?? place }

    /// What an alias did was the customer's doing, and so is what it does from now on. One that is another customer's alias
    /// is this one's from now on.
    private mutating func join(_ alias: String, to id: String) {
        let (from, user) = (place(alias), place(id))
        let into = customer(of: user)
        guard from != into, customers[from] != into else { return }
        for (other, customer) in customers where customer == from { customers[other] = into }
        guard customers.updateValue(into, forKey: from) == nil else { return }
        let (a, u) = (users[Int(from)], users[Int(into)])
        users[Int(into)].events = (a.events + u.events).sorted()
        users[Int(into)].purchases = (a.purchases + u.purchases).sorted()
        func steps(_ user: User) -> [(time: Int64, money: Double)] {
            user.changes.indices.map { (user.changes[$0], user.spent[$0] - ($0 > 0 ? user.spent[$0 - 1] : 0)) }
        }
        (users[Int(into)].changes, users[Int(into)].spent) = ([], [])
        for step in (steps(a) + steps(u)).sorted(by: { $0.time < $1.time }) {
            addMoney(Int(into), at: step.time, step.money)
        }
        users[Int(into)].orders.merge(a.orders) { later, _ in later }
    }

    mutating func addPurchase(_ user: Int32, at time: Int64, money: Double) {
        lastMs = max(lastMs, time)
        users[Int(user)].purchases.append(time)
        addMoney(Int(user), at: time, money)
    }

    private mutating func addMoney(_ user: Int, at time: Int64, _ money: Double) {
        users[user].changes.append(time)
        users[user].spent.append((users[user].spent.last ?? 0) + money)
    }

    /// Money and number of the purchases in (from, from + horizon].
    /// - Parameter days: the horizon.
    func outcome(_ user: Int32, from: Int64, days: Double) -> (money: Double, purchases: Int) {
        let u = users[Int(customer(of: user))]
        let to = from + Int64((days * 86_400_000).rounded())
        let (a, b) = (Self.after(u.changes, from), Self.after(u.changes, to))
        let money = (b > 0 ? u.spent[b - 1] : 0) - (a > 0 ? u.spent[a - 1] : 0)
        return (money, Self.after(u.purchases, to) - Self.after(u.purchases, from))
    }

    /// Index of the first time after `t`.
    package static func after(_ times: [Int64], _ t: Int64) -> Int {
        var (low, high) = (0, times.count)
        while low < high {
            let middle = (low + high) / 2
            if times[middle] <= t { low = middle + 1 } else { high = middle }
        }
        return low
    }
}
