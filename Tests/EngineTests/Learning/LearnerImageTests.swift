import Foundation
import Testing

@testable import Engine

/// Descriptions of a learner that do not fit the engine are refused by the name of what does not fit.
@Suite struct LearnerImageTests {
    typealias Object = [String: Any]

    /// A part of the description, damaged, and what the message has to name.
    private struct Damage {
        var path: [Any]
        var name: String
        /// What becomes of the value at the path.
        var change: (Any) -> Any
    }

    /// Drops the last entry of the list at a path.
    private static func shorter(_ path: [Any], _ name: String) -> Damage {
        Damage(path: path, name: name) { Array(($0 as! [Any]).dropLast()) }
    }

    private static func value(_ path: [Any], _ value: Any, _ name: String) -> Damage {
        Damage(path: path, name: name) { _ in value }
    }

    private static var damages: [Damage] {
        [
            shorter(["standardMean"], "standardMean"),
            shorter(["standardM2"], "standardM2"),
            shorter(["standardObservations"], "standardObservations"),
            shorter(["taughtRows"], "taughtRows"),
            shorter(["rates", "cells"], "rates"),
            shorter(["population", "purchases", "weights"], "population"),
            shorter(["population", "activity", "sums"], "population"),
            shorter(["shares", "groups"], "shares"),
            shorter(["shares", "groups", 5], "shares"),
            shorter(["calibrations"], "calibrations"),
            shorter(["calibrations", 1, "cells"], "calibrations[1]"),
            shorter(["calibrations", 1, "cells", 0, "information"], "calibrations[1]"),
            shorter(["calibrations", 0, "cells", 2, "sums"], "calibrations[0]"),
            shorter(["blends"], "blends"),
            shorter(["blends", 0, "cells"], "blends[0]"),
            shorter(["blends", 1, "cells", 3, "chance", "covariance"], "blends[1]"),
            shorter(["blends", 1, "cells", 3, "amount", "covariance"], "blends[1]"),
            value(["blends", 1, "group"], 0, "blends[1]"),
            shorter(["levels", "values"], "levels"),
            shorter(["drift", "monitors"], "drift"),
            shorter(["drift", "adaptsUntil"], "drift"),
            shorter(["windows"], "windows"),
            value(["windows", 2, "samples"], -1, "windows[2]"),
            value(["windows", 2, "samples"], 1_000_000, "windows[2]"),
            value(["windows", 2, "next"], 1_000_000, "windows[2]"),
            Damage(path: ["windows", 0, "samples"], name: "\"prequential\"") { ($0 as! Int) - 1 },
        ]
    }

    private static func changed(_ value: Any, _ path: ArraySlice<Any>, _ change: (Any) -> Any) -> Any {
        guard let first = path.first else { return change(value) }
        if let i = first as? Int {
            var list = value as! [Any]
            list[i] = changed(list[i], path.dropFirst(), change)
            return list
        }
        var object = value as! Object
        let key = first as! String
        object[key] = changed(object[key]!, path.dropFirst(), change)
        return object
    }

    /// What decides the size of the next step and which weights serve goes on after a restore.
    @Test func theStateOfEarlyStoppingAndDriftGoesOn() throws {
        let engine = Engine.make()
        engine.run(RandomStream(users: 40, events: 600, days: 60, troubles: false).make(seed: 78))
        engine.learner.stopping.rateFactor = 0.125
        engine.learner.stopping.strikes = 2
        engine.learner.stopping.isHolding = true
        engine.learner.report.holding = true
        engine.learner.adapting = true
        let again = try Written(engine).restored().learner
        #expect(again.stopping.rateFactor == 0.125)
        #expect(again.stopping.strikes == 2)
        #expect(again.stopping.isHolding && again.report.holding)
        #expect(again.adapting)
    }

    @Test func everyPartIsNamed() throws {
        let engine = Engine.make()
        engine.run(RandomStream(users: 40, events: 1500, days: 60, troubles: false).make(seed: 77))
        let image = try Written(engine)
        let whole = try JSONSerialization.jsonObject(with: image.metadata)
        #expect(throws: Never.self) { _ = try image.restored() }
        for damage in Self.damages {
            var torn = image
            let path = ["learner"] + damage.path
            torn.metadata = try JSONSerialization.data(withJSONObject: Self.changed(whole, path[...], damage.change))
            do {
                _ = try torn.restored()
                Issue.record("\(damage.path) was not noticed")
            } catch let mismatch as SnapshotMismatch {
                #expect(mismatch.description.contains(damage.name), "\(damage.path): \(mismatch)")
            }
        }
    }
}
