/// Name, unit and formula of a feature: the one place that documentation and explanations read.
public struct FeatureDefinition: Sendable, Equatable {
    public let name: String
    public let unit: String
    public let formula: String

    init(_ name: String, _ unit: String, _ formula: String) {
        self.name = name
        self.unit = unit
        self.formula = formula
    }
}
