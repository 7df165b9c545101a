//! Headless Chromium, driven over WebDriver.
//!
//! The protocol is JSON over HTTP, so this needs no client library. fantoccini would add 28 crates to
//! the build.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use ureq::http::Request;

/// How long a page can take to reach a state. Much longer than on a busy machine.
const WAIT_MAX: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);
/// The member that identifies an element in the protocol.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A browser with one window, and its driver.
pub struct Chromium {
    driver: Child,
    agent: ureq::Agent,
    /// The address of the session of the driver. Empty until the browser has started.
    session: String,
}

impl Chromium {
    /// Starts a browser of 1280 × 800 pixels, in UTC and with the light color scheme.
    pub fn start() -> Self {
        let mut driver = Command::new("chromedriver")
            // The driver chooses a free port and prints it.
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start chromedriver: {error}"));
        let output = BufReader::new(driver.stdout.take().unwrap());
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .build();
        let mut browser = Self {
            driver,
            agent: agent.new_agent(),
            session: String::new(),
        };
        let port = output
            .lines()
            .map_while(Result::ok)
            .find_map(|line| {
                let (_, port) = line.split_once("started successfully on port ")?;
                Some(port.trim_end_matches('.').to_owned())
            })
            .expect("chromedriver prints its port");
        let sessions = format!("http://127.0.0.1:{port}/session");
        let created = browser.request("POST", &sessions, &capabilities());
        browser.session = format!("{sessions}/{}", created["sessionId"].as_str().unwrap());
        browser.set_time_zone("UTC");
        browser.set_width(1280);
        browser.set_color_scheme("light");
        browser
    }

    fn request(&self, method: &str, url: &str, body: &Value) -> Value {
        let request = Request::builder().method(method).uri(url);
        let request = request.header("Content-Type", "application/json");
        let response = match method {
            "POST" => self.agent.run(request.body(body.to_string()).unwrap()),
            _ => self.agent.run(request.body(()).unwrap()),
        };
        let mut response = response.unwrap_or_else(|error| panic!("{method} {url}: {error}"));
        let text = response.body_mut().with_config().limit(1 << 30);
        let text = text.read_to_string().unwrap();
        let mut answer: Value = serde_json::from_str(&text).unwrap();
        let value = answer["value"].take();
        assert!(
            response.status().is_success(),
            "{method} {url} {body}: {} {}",
            value["error"],
            value["message"]
        );
        value
    }

    fn post(&self, command: &str, body: &Value) -> Value {
        self.request("POST", &format!("{}/{command}", self.session), body)
    }

    fn get(&self, command: &str) -> Value {
        let url = format!("{}/{command}", self.session);
        self.request("GET", &url, &Value::Null)
    }

    /// Sends a command of the Chrome DevTools Protocol.
    pub fn devtools(&self, command: &str, parameters: &Value) -> Value {
        let body = json!({ "cmd": command, "params": parameters });
        self.post("goog/cdp/execute", &body)
    }

    pub fn set_time_zone(&self, zone: &str) {
        let parameters = json!({ "timezoneId": zone });
        self.devtools("Emulation.setTimezoneOverride", &parameters);
    }

    /// Sets the width of the page in CSS pixels.
    pub fn set_width(&self, width: u32) {
        let size =
            json!({ "width": width, "height": 800, "deviceScaleFactor": 1, "mobile": false });
        self.devtools("Emulation.setDeviceMetricsOverride", &size);
    }

    /// Sets the system setting, `light` or `dark`.
    pub fn set_color_scheme(&self, scheme: &str) {
        let feature = json!({ "name": "prefers-color-scheme", "value": scheme });
        let media = json!({ "features": [feature] });
        self.devtools("Emulation.setEmulatedMedia", &media);
    }

    /// Opens a page and waits until it is loaded.
    pub fn open(&self, url: &str) {
        self.post("url", &json!({ "url": url }));
    }

    pub fn reload(&self) {
        self.post("refresh", &json!({}));
    }

    pub fn back(&self) {
        self.post("back", &json!({}));
    }

    pub fn url(&self) -> String {
        self.get("url").as_str().unwrap().to_owned()
    }

    /// The value of a JavaScript expression. A promise is awaited.
    pub fn value(&self, expression: &str) -> Value {
        let script = format!("return ({expression})");
        self.post("execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// Runs the text of a script in the page, regardless of its content security policy.
    pub fn run_script(&self, script: &str) {
        let parameters = json!({ "expression": script });
        let result = self.devtools("Runtime.evaluate", &parameters);
        assert!(result["exceptionDetails"].is_null(), "{result}");
    }

    /// Waits until a JavaScript expression is true. The page can be replaced in the meantime.
    pub fn wait_until(&self, condition: &str) {
        let started = Instant::now();
        let script = format!("return Boolean({condition})");
        let body = json!({ "script": script, "args": [] });
        while self.post("execute/sync", &body) != json!(true) {
            assert!(
                started.elapsed() < WAIT_MAX,
                "at {}: never true: {condition}\n{}",
                self.url(),
                self.text()
            );
            std::thread::sleep(POLL);
        }
    }

    /// The visible text of the page.
    pub fn text(&self) -> String {
        let text = self.value("document.body ? document.body.innerText : ''");
        text.as_str().unwrap().to_owned()
    }

    /// The visible text of the first element that a selector matches.
    pub fn text_of(&self, css: &str) -> String {
        let text = self.value(&format!("document.querySelector({css:?})?.innerText"));
        text.as_str()
            .unwrap_or_else(|| panic!("no element matches {css}:\n{}", self.text()))
            .to_owned()
    }

    pub fn count(&self, css: &str) -> u64 {
        let count = self.value(&format!("document.querySelectorAll({css:?}).length"));
        count.as_u64().unwrap()
    }

    fn element(&self, css: &str) -> String {
        let found = self.post("element", &json!({ "using": "css selector", "value": css }));
        format!("element/{}", found[ELEMENT].as_str().unwrap())
    }

    /// Clicks an element with the mouse. Fails if something else covers it.
    pub fn click(&self, css: &str) {
        self.post(&format!("{}/click", self.element(css)), &json!({}));
    }

    /// Clicks a place in the window, in CSS pixels.
    pub fn click_at(&self, x: i64, y: i64) {
        let actions = [
            json!({ "type": "pointerMove", "x": x, "y": y }),
            json!({ "type": "pointerDown", "button": 0 }),
            json!({ "type": "pointerUp", "button": 0 }),
        ];
        let mouse = json!({ "type": "pointer", "id": "mouse", "actions": actions });
        self.post("actions", &json!({ "actions": [mouse] }));
    }

    /// Types into a field.
    pub fn type_into(&self, css: &str, text: &str) {
        let body = json!({ "text": text });
        self.post(&format!("{}/value", self.element(css)), &body);
    }

    /// Presses and releases a key, wherever the focus is.
    pub fn press(&self, key: &str) {
        let actions: Vec<Value> = ["keyDown", "keyUp"]
            .map(|kind| json!({ "type": kind, "value": key }))
            .into();
        let keyboard = json!({ "type": "key", "id": "keyboard", "actions": actions });
        self.post("actions", &json!({ "actions": [keyboard] }));
    }

    /// The errors and warnings that the browser logged since the last call, and the addresses on
    /// other hosts that the page requested.
    pub fn complaints(&self) -> Vec<String> {
        let entries = self.post("se/log", &json!({ "type": "browser" }));
        let entries = entries.as_array().unwrap().iter();
        let mut complaints: Vec<String> = entries
            .filter(|entry| ["SEVERE", "WARNING"].contains(&entry["level"].as_str().unwrap()))
            .map(|entry| entry["message"].as_str().unwrap().to_owned())
            .collect();
        let foreign = self.value(
            "performance.getEntriesByType('resource').map((entry) => entry.name)
                .filter((name) => !name.startsWith(location.origin + '/'))",
        );
        let foreign = foreign.as_array().unwrap().iter();
        complaints.extend(foreign.map(|name| format!("requested {name}")));
        complaints
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        if !self.session.is_empty() {
            // Closes the browser and removes its profile. The driver could have exited.
            let request = Request::delete(&self.session).body(()).unwrap();
            let _ = self.agent.run(request);
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

fn capabilities() -> Value {
    let mut arguments = vec![
        "--headless=new",
        // The memory of `/dev/shm` is too small in many containers.
        "--disable-dev-shm-usage",
        "--force-device-scale-factor=1",
        "--lang=en-US",
        // The browser reaches no other host, not even to look for updates.
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    ];
    if rustix::process::geteuid().is_root() {
        // Chromium does not start its sandbox as root.
        arguments.push("--no-sandbox");
    }
    json!({ "capabilities": { "alwaysMatch": {
        "goog:chromeOptions": { "args": arguments },
        "goog:loggingPrefs": { "browser": "ALL" },
    } } })
}
