//! The dashboard over a real server: who can sign in, and what each role can see.
//!
//! This file has a browser without scripts.

mod analyst;
mod assets;
mod attacks;
mod causes;
mod csrf;
mod pages;
mod proxy;
mod roles;
mod sign_in;

use session_pipeline_harness::DataDir;
use ureq::http::Request;

use crate::database::rows;
use crate::http::TestServer;

/// A browser on one page of a server: it stores a cookie, and sends the headers of browsers.
pub(crate) struct Browser<'a> {
    server: &'a TestServer,
    /// The name and the text of the cookie.
    cookie: Option<String>,
    /// Headers of each request.
    headers: Vec<(&'static str, String)>,
}

/// A response, read completely.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) status: u16,
    headers: ureq::http::HeaderMap,
    pub(crate) body: String,
}

impl Page {
    fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.map_or("", |value| value.to_str().unwrap())
    }

    /// The CSRF token of a page.
    fn csrf(&self) -> String {
        let (_, rest) = self
            .body
            .split_once("name=\"csrf\" content=\"")
            .unwrap_or_else(|| panic!("no token: {self:?}"));
        rest.split('"').next().unwrap().to_owned()
    }
}

impl<'a> Browser<'a> {
    fn new(server: &'a TestServer) -> Self {
        Self {
            server,
            cookie: None,
            headers: vec![
                ("Accept", "text/html,*/*".to_owned()),
                ("Origin", server.url.clone()),
            ],
        }
    }

    /// A browser that is signed in.
    pub(crate) fn signed_in(server: &'a TestServer, token: &str) -> Self {
        let mut browser = Self::new(server);
        let page = browser.sign_in(token, "/");
        assert_eq!(
            (page.status, page.header("location")),
            (303, "/"),
            "{page:?}"
        );
        browser
    }

    /// Replaces a header, or removes it.
    fn with(mut self, name: &'static str, value: Option<&str>) -> Self {
        self.headers.retain(|(known, _)| *known != name);
        let value = value.map(|value| (name, value.to_owned()));
        self.headers.extend(value);
        self
    }

    fn send(&mut self, method: &str, path: &str, body: &str) -> Page {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.server.url));
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        if let Some(cookie) = &self.cookie {
            request = request.header("Cookie", format!("other=1; {cookie}"));
        }
        if method == "POST" {
            request = request.header("Content-Type", "application/x-www-form-urlencoded");
        }
        let request = request.body(body.as_bytes().to_vec()).unwrap();
        let mut response = self.server.run(request);
        if let Some(cookie) = response.headers().get("set-cookie") {
            let pair = cookie.to_str().unwrap().split(';').next().unwrap();
            self.cookie = Some(pair.to_owned()).filter(|pair| !pair.ends_with('='));
        }
        Page {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            body: response.body_mut().read_to_string().unwrap(),
        }
    }

    pub(crate) fn get(&mut self, path: &str) -> Page {
        self.send("GET", path, "")
    }

    fn post(&mut self, path: &str, body: &str) -> Page {
        self.send("POST", path, body)
    }

    fn sign_in(&mut self, token: &str, next: &str) -> Page {
        self.post("/sign-in", &format!("token={token}&next={next}"))
    }

    fn sign_out(&mut self) -> Page {
        let csrf = self.get("/").csrf();
        self.post("/sign-out", &format!("csrf={csrf}"))
    }

    fn is_signed_in(&mut self) -> bool {
        let page = self.get("/");
        match page.status {
            200 => true,
            303 => {
                assert_eq!(page.header("location"), "/sign-in");
                false
            }
            _ => panic!("{page:?}"),
        }
    }
}

/// The audited requests and sign-ins: action, resource, user and address.
fn audited(dir: &DataDir) -> Vec<String> {
    let sql = "SELECT action, resource, CASE WHEN length(user_id) = 36 THEN 'a user' ELSE user_id END, client_ip
        FROM audit_log WHERE action LIKE 'request.%' OR action LIKE 'dashboard.%'
        ORDER BY CAST(id AS BIGINT)";
    rows(dir, sql)
}
