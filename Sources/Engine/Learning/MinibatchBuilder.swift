import CKernels
import Glibc

/// Fills a minibatch from landmarks.
final class MinibatchBuilder {
    let batch: TrainingBatch
    private let settings: EngineSettings
    private let executor: any ParallelExecutor

    init(_ settings: EngineSettings, executor: any ParallelExecutor) {
        self.settings = settings
        self.executor = executor
        batch = TrainingBatch(
            layout: settings.model, capacity: settings.configuration.learning.batchSize, steps: UserLayout.ringCount)
    }

    /// Fills a row for each pick, in parallel: every row has its place.
    func fill(
        _ picks: [LandmarkPick], from tasks: [PartitionTask], standardizer: Standardizer,
        rates: borrowing PopulationRates
    ) {
        batch.rows = picks.count
        for cell in 0..<settings.targetTable.cells { batch.meanLogSpend[cell] = rates.meanLogSpend(cell) }
        let chunks = (picks.count + Trainer.chunkRows - 1) / Trainer.chunkRows
        nonisolated(unsafe) let (builder, source) = (self, tasks)
        executor.run(count: chunks) { chunk in
            for r in chunk * Trainer.chunkRows..<min(picks.count, (chunk + 1) * Trainer.chunkRows) {
                let task = source[picks[r].task]
                builder.fill(
                    row: r, task.pool.at(picks[r].sequence), sequence: picks[r].sequence, task.pool.frontier,
                    standardizer)
            }
        }
    }

    private func fill(
        row r: Int, _ landmark: UnsafeMutableRawPointer, sequence: Int64, _ frontier: [Int64],
        _ standardizer: Standardizer
    ) {
        let layout = settings.landmarkLayout
        settings.codec.unpack(landmark + layout.state, into: batch.initialState + r * settings.stateWidth)
        encodeEvents(row: r, landmark, standardizer)
        withUnsafeTemporaryAllocation(of: Float.self, capacity: layout.features) { raw in
            clvd_float_from_half(layout.features, landmark.at(layout.featureRow, as: UInt16.self), raw.baseAddress!)
            standardizer.apply(raw.baseAddress!, rows: 1, into: batch.features + r * layout.features)
        }
        memcpy(
            batch.labels + r * layout.cells, landmark + layout.labels, layout.cells * MemoryLayout<Float>.stride)
        for b in 0..<frontier.count { batch.matured[r * frontier.count + b] = sequence < frontier[b] ? 1 : 0 }
    }

    /// The inputs of the events stored with a landmark: [steps × indices] and [steps × numerics] of the row.
    private func encodeEvents(row r: Int, _ landmark: UnsafeMutableRawPointer, _ standardizer: Standardizer) {
        let h = LandmarkPool.header(landmark)
        let steps = Int(h.pointee.steps)
        batch.lengths[r] = Int32(steps)
        var context = StepInputs.Context(
            previousTime: h.pointee.contextTime, previousCode: h.pointee.contextCode,
            lastPurchase: h.pointee.contextPurchase,
            amountMean: standardizer.amountMean, amountInverse: standardizer.amountInverse)
        let events = landmark.at(settings.landmarkLayout.events, as: StoredEvent.self)
        for t in 0..<steps {
            let at = r * UserLayout.ringCount + t
            settings.inputs.encode(
                events[t], logAmount: clvd_float_of_half(events[t].amount), context,
                indices: batch.indices + at * StepInputs.indices, numerics: batch.numerics + at * StepInputs.numerics)
            context.previousTime = events[t].time
            context.previousCode = events[t].code
            if events[t].code >> EventRing.typeShift == UInt16(EventType.purchase.rawValue) {
                context.lastPurchase = events[t].time
            }
        }
    }
}
