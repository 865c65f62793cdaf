import CRdKafka

extension Consumer {
    private static let seekMs: Int32 = 5_000

    /// Has a partition wait, until `resume` or another assignment: nothing comes of it, and nobody waits for it. What a
    /// poll has brought of it already stays.
    /// - Parameter offset: of the record that it waits before.
    public func pause(_ p: TopicPartition, at offset: Int64) {
        guard let topic = topicIndex(p) else { return }
        paused.insert(p)
        clvd_alignment_hold(alignment, topic, p.partition, offset, 1)
        // Without it, what is fetched would be thrown away.
        _ = clvd_pause(client.handle, p.topic, p.partition, 1)
    }

    /// Has a partition go on from an offset.
    /// - Throws: when it cannot be read there now; it waits on.
    public func resume(_ p: TopicPartition, at offset: Int64) throws(KafkaError) {
        guard paused.contains(p), let topic = topicIndex(p) else { return }
        // A batch may have stopped it meanwhile, which is found again.
        goOn(p)
        _ = clvd_pause(client.handle, p.topic, p.partition, 0)
        let error = clvd_seek(client.handle, p.topic, p.partition, offset, Self.seekMs)
        guard error == RD_KAFKA_RESP_ERR_NO_ERROR else {
            _ = clvd_pause(client.handle, p.topic, p.partition, 1)
            throw KafkaError("go on with \(p)", error)
        }
        paused.remove(p)
        clvd_alignment_hold(alignment, topic, p.partition, offset, 0)
    }

    /// Ends the wait of a partition that is assigned or revoked.
    func endPause(_ p: TopicPartition) {
        guard paused.remove(p) != nil else { return }
        _ = clvd_pause(client.handle, p.topic, p.partition, 0)
    }
}
