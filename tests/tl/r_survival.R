# Reference values of R's survival package; r_survival.json is what this prints:
#   python tests/tl/test_r_survival.py FOLDER && Rscript tests/tl/r_survival.R FOLDER > tests/tl/r_survival.json
# FOLDER receives one CSV a data set: time, event, group (ordered, whole numbers), stratum, cluster, x1, x2, x3.
suppressMessages({library(survival); library(jsonlite); library(maxstat)})

curve <- function(data, type) {
  fit <- survfit(Surv(time, event) ~ group, data = data, conf.type = type)
  lapply(setNames(seq_along(fit$strata), sort(unique(data$group))), function(i) {
    one <- fit[i]
    at <- one$time[one$n.event > 0 & one$surv > 0]
    at <- at[unique(round(seq(1, length(at), length.out = 6)))]
    s <- summary(one, times = at)
    median <- summary(one)$table[c("median", "0.95LCL", "0.95UCL")]
    list(time = at, at_risk = s$n.risk, survival = s$surv, low = s$lower, high = s$upper,
         median = unname(median))
  })
}

test <- function(fit) {
  total <- function(x) if (is.matrix(x)) rowSums(x) else x
  score <- sort(unique(as.numeric(sub("group=", "", names(fit$n)))))
  difference <- total(fit$obs) - total(fit$exp)
  list(statistic = fit$chisq, observed = unname(total(fit$obs)), expected = unname(total(fit$exp)),
       trend = sum(score * difference)^2 / drop(score %*% fit$var %*% score))
}

strict <- coxph.control(eps = 1e-13, toler.chol = 1e-14, iter.max = 100)

regression <- function(formula, data, ties, cluster = NULL) {
  call <- list(formula = formula, data = data, ties = ties, control = strict, model = TRUE, x = TRUE, y = TRUE)
  if (!is.null(cluster)) call$cluster <- cluster
  fit <- do.call(coxph, call)
  s <- summary(fit)
  zph <- cox.zph(fit, transform = "km", terms = FALSE)$table
  list(coef = unname(coef(fit)), se = unname(sqrt(diag(vcov(fit)))), loglik = fit$loglik,
       lr = unname(s$logtest[1]), score = fit$score, wald = fit$wald.test,
       concordance = unname(s$concordance[1]), zph = unname(zph[, "chisq"]), zph_p = unname(zph[, "p"]))
}

ridged <- function(data, theta) {
  fit <- coxph(Surv(time, event) ~ ridge(x1, x2, x3, theta = theta, scale = TRUE), data = data,
               control = strict)
  list(coef = unname(coef(fit)), se = unname(sqrt(diag(fit$var))), df = fit$df, loglik = fit$loglik[2])
}

cutpoint <- function(data) {  # maxstat counts a tie of times as it comes: here they are drawn apart
  data <- data[order(data$time, -data$event), ]
  data$time <- seq_len(nrow(data))
  found <- maxstat.test(Surv(time, event) ~ x1, data = data, smethod = "LogRank", pmethod = "Lau92",
                        minprop = 0.2, maxprop = 0.8)
  list(statistic = unname(found$statistic), cut = unname(found$estimate), p = found$p.value,
       lausen = sapply(c(1.5, 2, 2.5, 3, 4), pLausen92, minprop = 0.1, maxprop = 0.9))
}

exact_trend <- function(formula, data) coxph(formula, data = data, ties = "exact")$score

analyse <- function(file) {
  data <- read.csv(file)
  plain <- Surv(time, event) ~ x1 + x2 + x3
  strata <- Surv(time, event) ~ x1 + x2 + x3 + strata(stratum)
  list(
    n = nrow(data), events = sum(data$event),
    km_loglog = curve(data, "log-log"), km_plain = curve(data, "plain"), km_log = curve(data, "log"),
    logrank = test(survdiff(Surv(time, event) ~ group, data = data)),
    logrank_strata = test(survdiff(Surv(time, event) ~ group + strata(stratum), data = data)),
    trend_exact = exact_trend(Surv(time, event) ~ group, data),
    trend_exact_strata = exact_trend(Surv(time, event) ~ group + strata(stratum), data),
    efron = regression(plain, data, "efron"),
    breslow = regression(plain, data, "breslow"),
    efron_strata = regression(strata, data, "efron"),
    breslow_strata = regression(strata, data, "breslow"),
    efron_cluster = regression(plain, data, "efron", cluster = data$cluster),
    breslow_cluster = regression(plain, data, "breslow", cluster = data$cluster),
    efron_strata_cluster = regression(strata, data, "efron", cluster = data$cluster),
    ridge = ridged(data, 0.1 * nrow(data)),
    maxstat = cutpoint(data)
  )
}

files <- sort(list.files(commandArgs(trailingOnly = TRUE)[1], pattern = "[.]csv$", full.names = TRUE))
results <- lapply(setNames(files, sub("[.]csv$", "", basename(files))), analyse)
versions <- paste0("R ", getRversion(), ", survival ", packageVersion("survival"), ", maxstat ", packageVersion("maxstat"))
cat(toJSON(list(made_by = versions, results = results), digits = 15, auto_unbox = TRUE, na = "null", pretty = FALSE), "\n", sep = "")
