//! An app for phones, in Kotlin.

use super::{Check, Project, task};

pub(super) const MOBILE: Project = Project {
    name: "courier-app",
    repository: "northwind/courier-app",
    weight: 9,
    tickets: "APP",
    language: "kotlin",
    components: &[
        "offline sync",
        "delivery map",
        "barcode scanner",
        "push notifications",
        "login",
        "proof of delivery",
    ],
    entities: &["delivery", "parcel", "route", "signature", "shift"],
    files: &[
        "app/src/main/java/com/northwind/courier/sync/SyncWorker.kt",
        "app/src/main/java/com/northwind/courier/route/RouteViewModel.kt",
        "app/src/main/java/com/northwind/courier/scan/Scanner.kt",
        "app/src/main/java/com/northwind/courier/login/LoginScreen.kt",
        "app/src/main/java/com/northwind/courier/delivery/ProofScreen.kt",
        "app/src/test/java/com/northwind/courier/sync/SyncWorkerTest.kt",
        "gradle/libs.versions.toml",
    ],
    symbols: &[
        "SyncWorker",
        "RouteViewModel",
        "mergeDelivery",
        "scanParcel",
        "refreshToken",
        "drawRoute",
    ],
    tasks: &[
        task(
            "Fix lost signatures in {component}",
            "fix/signatures",
            "Couriers lose the {entity} when the app is in the background for more than 10 minutes ({ticket}). I think `{symbol}` drops it, but check.",
        ),
        task(
            "Reduce battery use of {component}",
            "perf/battery",
            "We lose 9% of the battery in a shift to {component}. Find the wake-ups and reduce them.",
        ),
        task(
            "Add dark mode to {component}",
            "feat/dark-mode",
            "Add dark mode to {component}, following the system setting.",
        ),
        task(
            "Migrate {symbol} to coroutines",
            "refactor/coroutines",
            "`{symbol}` still uses RxJava. Migrate it to coroutines and keep the tests green.",
        ),
        task(
            "Explain the crash in {symbol}",
            "main",
            "What does this crash in `{symbol}` mean? It happens only on Android 16: `java.lang.IllegalStateException: Cannot start a foreground service`.",
        ),
        task(
            "Support conflicts in {component}",
            "feat/conflicts",
            "Two couriers can edit the same {entity}. Design how {component} resolves conflicts, then implement the first step.",
        ),
    ],
    code: &[
        "class {symbol} @Inject constructor(",
        "    private val dao: DeliveryDao,",
        "    private val api: CourierApi,",
        ") {",
        "    suspend fun sync(shift: Shift): Result<Int> = runCatching {",
        "        val pending = dao.pending(shift.id)",
        "        pending.forEach { {entity} ->",
        "            api.upload({entity}.toDto())",
        "            dao.markSent({entity}.id)",
        "        }",
        "        pending.size",
        "    }",
        "",
        "    fun observe(): Flow<List<Delivery>> = dao.observe()",
        "        .map { rows -> rows.map(Row::toDomain) }",
        "        .distinctUntilChanged()",
        "}",
    ],
    edits: &[
        (
            "        val pending = dao.pending(shift.id)",
            "        val pending = dao.pending(shift.id, limit = BATCH)",
        ),
        (
            "            api.upload({entity}.toDto())\n            dao.markSent({entity}.id)",
            "            val sent = api.upload({entity}.toDto())\n            dao.markSent({entity}.id, sent.version)",
        ),
        (
            "        .distinctUntilChanged()",
            "        .distinctUntilChanged()\n        .flowOn(Dispatchers.Default)",
        ),
    ],
    test: Check {
        command: "./gradlew :app:testDebugUnitTest --tests '*{symbol}*'",
        passed: "> Task :app:testDebugUnitTest\n\nBUILD SUCCESSFUL in {seconds}s\n{count} actionable tasks: 6 executed, 36 up-to-date",
        failed: "{symbol}Test > keeps the {entity} after a restart FAILED\n    java.lang.AssertionError: expected:<1> but was:<0>\n        at com.northwind.courier.{symbol}Test.kt:{line}\n\n{count} tests completed, 1 failed\n\nFAILURE: Build failed with an exception.",
    },
    lint: Check {
        command: "./gradlew detekt",
        passed: "BUILD SUCCESSFUL in {seconds}s",
        failed: "{file}:{line}:5: The function sync is too long (63). The maximum length is 60. [LongMethod]\n\nBUILD FAILED in {seconds}s",
    },
    rules: &[
        "No, the app must work offline for a whole shift and not only for an hour.",
        "Use the version catalog instead of versions in build files.",
        "We never ask for the location permission at the start of the app.",
        "POD stands for proof of delivery and needs a signature or a photo.",
        "A delivery is defined as attempted when the courier was at the door.",
        "Actually, the server wins a conflict, except for signatures.",
        "Don't use RxJava in new code.",
        "Errors should be shown with a retry button, not as a toast.",
    ],
};
