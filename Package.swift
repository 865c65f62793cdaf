// swift-tools-version: 6.2
import PackageDescription

// One rule for every target of ours: Swift 6 mode (the tools default), warnings are errors.
let strict: [SwiftSetting] = [
    .treatAllWarnings(as: .error),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
]
let strictC: [CSetting] = [.treatAllWarnings(as: .error), .unsafeFlags(["-Wall", "-Wextra"])]
let strictCxx: [CXXSetting] = [.treatAllWarnings(as: .error), .unsafeFlags(["-Wall", "-Wextra"])]

let package = Package(
    name: "clvd",
    products: [
        .executable(name: "clvd", targets: ["clvd"])
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.0"),
        .package(url: "https://github.com/apple/swift-configuration", from: "1.4.0", traits: ["YAML"]),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.0"),
        .package(url: "https://github.com/apple/swift-metrics", from: "2.13.0"),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
        .package(url: "https://github.com/jpsim/Yams", from: "6.2.0"),
    ],
    targets: [
        // C boundaries, each one header and a thin shim over a Debian library.
        .target(
            name: "CRdKafka", dependencies: ["CEventParser"], cSettings: strictC,
            linkerSettings: [.linkedLibrary("rdkafka")]),
        .target(
            name: "CEventParser", cxxSettings: strictCxx,
            linkerSettings: [.linkedLibrary("protobuf"), .linkedLibrary("simdjson"), .linkedLibrary("z")]),
        .target(
            name: "CKernels", cSettings: strictC + [.unsafeFlags(["-O2"])],  // tests in debug builds run through it
            linkerSettings: [.linkedLibrary("m")]),
        .target(name: "CHash", cSettings: strictC),
        .target(name: "CHTTP", cSettings: strictC, linkerSettings: [.linkedLibrary("curl")]),
        .target(name: "CSnapshot", cSettings: strictC, linkerSettings: [.linkedLibrary("xxhash")]),

        // Kafka at the edge; knows nothing of users or models.
        .target(
            name: "Kafka",
            dependencies: ["CHash", "CRdKafka", "CEventParser", .product(name: "Logging", package: "swift-log")],
            swiftSettings: strict),
        // Formats (declarative mappings), decoding, event files.
        .target(
            name: "EventInput",
            dependencies: ["CEventParser", .product(name: "Yams", package: "Yams")],
            resources: [.embedInCode("Formats")], swiftSettings: strict),
        // Where the schemas of Avro and Protobuf records are.
        .target(
            name: "SchemaRegistry", dependencies: ["CEventParser", "CHTTP", "EventInput"], swiftSettings: strict),
        // Simulated users with known truth, and the CDNOW log, as streams of events.
        .target(name: "Simulation", dependencies: ["CEventParser", "CHash"], swiftSettings: strict),
        // What is drawn on a terminal: live view, progress bars, tables.
        .target(name: "Terminal", swiftSettings: strict),
        // The deterministic engine: no I/O, no clock, no threads of its own.
        .target(name: "Engine", dependencies: ["CEventParser", "CHash", "CKernels"], swiftSettings: strict),
        // Snapshots on disk: checksums, atomic writes, retention, safetensors.
        .target(
            name: "SnapshotStore",
            dependencies: ["CSnapshot", .product(name: "Logging", package: "swift-log")],
            swiftSettings: strict),
        // clvd.yaml → validated settings.
        .target(
            name: "Settings",
            dependencies: [
                "Engine", "EventInput", "Kafka",
                .product(name: "Configuration", package: "swift-configuration"),
                .product(name: "Yams", package: "Yams"),
            ],
            swiftSettings: strict),
        // The loop: poll → decode → step → publish → commit → snapshot.
        .target(
            name: "Runtime",
            dependencies: [
                "Engine", "EventInput", "Kafka", "SchemaRegistry", "SnapshotStore", "Settings",
                .product(name: "Logging", package: "swift-log"),
                .product(name: "Metrics", package: "swift-metrics"),
                .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
            ],
            swiftSettings: strict),
        // Input topics against what came of them, from outside.
        .target(
            name: "Verification",
            dependencies: [
                "CEventParser", "EventInput", "Kafka", .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: strict),
        // Forecasts at landmarks beside what came of them: scores, comparisons, charts.
        .target(
            name: "Evaluation",
            dependencies: ["CEventParser", "Engine", "EventInput", "Runtime", "Simulation", "Terminal"],
            swiftSettings: strict),
        // What an event file holds, as the engine takes it.
        .target(name: "Inspection", dependencies: ["CEventParser", "Engine", "EventInput"], swiftSettings: strict),
        // An event file as a stream of records that is sent to a topic.
        .target(name: "Replay", dependencies: ["CEventParser", "EventInput", "Kafka"], swiftSettings: strict),
        // Commands: arguments, calls, printing.
        .executableTarget(
            name: "clvd",
            dependencies: [
                "Evaluation", "Inspection", "Replay", "Runtime", "Simulation", "Terminal", "Settings", "EventInput",
                "Engine", "Kafka", "SchemaRegistry", "SnapshotStore", "Verification", "CEventParser",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
                .product(name: "UnixSignals", package: "swift-service-lifecycle"),
            ],
            resources: [.embedInCode("Resources")], swiftSettings: strict),

        // The loop on a simulated cluster, disk and clock, with faults by seed; `make faults` runs it.
        .executableTarget(
            name: "faults",
            dependencies: [
                "Runtime", "Engine", "EventInput", "Kafka", "SnapshotStore", "CSnapshot", "Settings", "CEventParser",
                "CHash", "TestSupport", .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "Logging", package: "swift-log"),
            ],
            path: "Tests/Faults", swiftSettings: strict),

        // What more than one test target needs.
        .target(
            name: "TestSupport", dependencies: ["Engine"], path: "Tests/Support", exclude: ["settings-table.sh"],
            swiftSettings: strict),

        .testTarget(name: "KafkaTests", dependencies: ["Kafka", "CEventParser"], swiftSettings: strict),
        .testTarget(name: "EventInputTests", dependencies: ["EventInput", "CEventParser"], swiftSettings: strict),
        .testTarget(
            name: "SchemaRegistryTests", dependencies: ["CEventParser", "EventInput", "SchemaRegistry"],
            exclude: ["confluent.py"], swiftSettings: strict),
        .testTarget(
            name: "EngineTests",
            dependencies: ["Engine", "EventInput", "CEventParser", "CHash", "CKernels", "TestSupport"],
            resources: [.copy("Fixtures")], swiftSettings: strict),
        .testTarget(name: "SnapshotStoreTests", dependencies: ["SnapshotStore", "CSnapshot"], swiftSettings: strict),
        .testTarget(name: "SettingsTests", dependencies: ["Kafka", "Settings"], swiftSettings: strict),
        .testTarget(name: "SimulationTests", dependencies: ["Simulation"], swiftSettings: strict),
        .testTarget(
            name: "EvaluationTests", dependencies: ["CEventParser", "Engine", "Evaluation", "Simulation", "Terminal"],
            swiftSettings: strict),
        .testTarget(name: "TerminalTests", dependencies: ["Terminal"], swiftSettings: strict),
        .testTarget(
            name: "InspectionTests", dependencies: ["Engine", "EventInput", "Inspection"], swiftSettings: strict),
        .testTarget(
            name: "RuntimeTests",
            dependencies: [
                "clvd", "Runtime", "Kafka", "Settings", "SnapshotStore", "Engine", "EventInput", "Verification",
                "CEventParser", "CRdKafka", "TestSupport", .product(name: "MetricsTestKit", package: "swift-metrics"),
            ],
            swiftSettings: strict),
        // Runs the program itself.
        .testTarget(
            name: "CommandTests",
            dependencies: [
                "clvd", "Engine", "EventInput", "Kafka", "Replay", "Simulation", "Verification", "CEventParser",
            ],
            swiftSettings: strict),
    ],
    cxxLanguageStandard: .cxx17
)

// `make fuzz` alone builds it, with libFuzzer's own `main`.
if Context.environment["CLVD_FUZZ"] != nil {
    package.products.append(.executable(name: "clvd-fuzz", targets: ["clvd-fuzz"]))
    package.targets.append(
        .executableTarget(
            name: "clvd-fuzz",
            dependencies: [
                "CEventParser", "CSnapshot", "Engine", "EventInput", "Settings", "SnapshotStore",
                .product(name: "Logging", package: "swift-log"),
            ],
            path: "Fuzz/Sources", swiftSettings: strict))
}
