import CEventParser

// Learning at marks of event time, where there are several partitions (`LearningMarks`).
extension Engine {
    /// Event time beyond which a record comes after the next learning; `Int64.max` where that is not a matter of time.
    var timeLimit: Int64 {
        guard learnsByMarks, configuration.learning.enabled else { return .max }
        guard let marks = schedule.marks else { return .min }
        return marks.trigger + settings.latenessMs
    }

    /// Learns at all marks that are due before a record. What is rejected moves nothing.
    /// - Returns: false when the record does not take its partition's watermark that far.
    func learn(before event: UnsafePointer<clvd_event>) -> Bool {
        let id = TaskID(topic: event.pointee.topic, partition: event.pointee.partition)
        let task = tasks[id]!
        guard task.moves(event, beyond: schedule.marks?.trigger ?? .min) else { return false }
        let watermark = task.watermark(with: event)
        if schedule.marks == nil { begin(LearningMarks(after: watermark)) }
        while schedule.marks!.trigger < watermark { learnAtMark() }
        return true
    }

    private func learnAtMark() {
        var marks = schedule.marks!
        let (mark, following) = (marks.due, marks.following)
        let cuts = ordered.map { $0.cut(at: mark) }
        var records: Int64 = 0
        for (task, cut) in zip(ordered, cuts) {
            records += cut.records - task.recordsLearned
            task.recordsLearned = cut.records
            task.pool.forgetCuts(before: following)
        }
        marks.advance(records: max(0, records), configuration.learning)
        guard records > 0 else { return begin(marks) }
        let passed = mark - (schedule.watermark ?? mark)
        learner.learn(
            ordered, cuts, records: records, days: Double(max(0, passed)) / Double(Clock.day), now: mark)
        learner.publish(to: serving, former: former)
        learned(at: mark, servesFrom: following, marks)
    }
}
